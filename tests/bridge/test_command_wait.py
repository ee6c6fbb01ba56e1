"""How long a command without an ack waits before it is sent again: as long as the line takes, by a clock of the test."""

from firmware_bridge.commands import LONGEST_WAIT_US, Commands
from firmware_bridge.messages import Command, CommandAck

LEAST_US, TTL_US = 20_000, 2_000_000


class Line:
    """Answers every command so much later, or never."""

    def __init__(self, answers_us):
        self.now, self.answers_us, self.due, self.ends = 0, answers_us, [], []
        self.commands = Commands(self.send, LEAST_US)

    def send(self, command, now_us):
        if self.answers_us is not None:
            self.due.append((now_us + self.answers_us, command.number))
        return True

    def command(self, actuator=1):
        made = Command(self.now + TTL_US, 1, 1, self.commands.next_number(), 1.0, actuator, 0)
        assert self.commands.start(made, TTL_US, self.now, self.ends.append)

    def run(self, until_us):
        while self.now < until_us:
            self.now += 1000
            for at, number in [one for one in self.due if one[0] <= self.now]:
                self.due.remove((at, number))
                self.commands.acknowledged(CommandAck(1, number, 0, 1.0, 1, 0, 0), self.now)
            self.commands.poll(self.now, self.now + 1000)


def ask(line, n, every_us=100_000):
    for _ in range(n):
        line.command()
        line.run(line.now + every_us)
    return line.commands.retries


def test_a_slow_line_is_sent_everything_once_after_the_first_few():
    line = Line(45_000)
    assert ask(line, 3) > 0
    before = line.commands.retries
    assert ask(line, 50) == before
    assert 45_000 < line.commands.wait_us < 200_000


def test_a_quick_line_waits_no_less_than_the_least():
    line = Line(2_000)
    assert ask(line, 20) == 0
    assert line.commands.wait_us == LEAST_US


def test_a_line_that_is_dead_is_tried_less_and_less_and_one_answer_brings_it_back():
    line = Line(None)
    line.command()
    line.run(TTL_US + 10_000)
    assert [end.status for end in line.ends] == [None]
    assert line.commands.retries < 8
    assert line.commands.wait_us == LONGEST_WAIT_US
    line.answers_us = 5_000
    ask(line, 10)
    assert line.commands.wait_us < 40_000


def test_one_lost_piece_of_the_line_doubles_the_wait_once():
    line = Line(None)
    for actuator in range(1, 5):
        line.command(actuator)
    line.run(LEAST_US)
    assert line.commands.retries == 4
    assert line.commands.wait_us == 2 * LEAST_US


def test_what_silence_doubled_is_forgotten_with_the_board():
    line = Line(None)
    line.command()
    line.run(1_000_000)
    assert line.commands.wait_us == LONGEST_WAIT_US
    line.commands.give_up(line.now)
    assert line.commands.wait_us == LEAST_US


def test_a_short_command_is_tried_twice_at_least_on_a_line_that_was_silent():
    line = Line(None)
    line.command()
    line.run(TTL_US + 10_000)
    tries = []
    made = Command(0, 1, 1, line.commands.next_number(), 1.0, 1, 0)
    assert line.commands.start(made, 300_000, line.now, tries.append)
    line.run(line.now + 310_000)
    assert tries[0].tries >= 2
