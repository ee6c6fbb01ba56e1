"""Commands that wait for their acks: sent again until the ack comes or their life is over. Owns no signature, no clock and no line.

How long is waited follows the line, as in RFC 6298: the mean time of an answer and four times its spread, doubled when none comes, and only
taken from commands that were sent once. A fixed 20 ms on a line that answers in 15 to 25 ms sent every other command twice, and the
repetitions held up the next one by as long.
"""

from collections.abc import Callable

import msgspec

from firmware_bridge.messages import Command, CommandAck, Message, Status

MASK = 0xFFFF_FFFF
LONGEST_WAIT_US = 640_000


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a command.

    Args:
        number: of the command.
        status: the board's word, or None: no answer within its life.
        value: what the board set.
        tries: times that it was sent.
        took_us: from the first try to the answer.
    """

    number: int
    status: Status | None
    value: float
    tries: int
    took_us: int


class _Waiting(msgspec.Struct):
    command: Command
    longest_us: int  # between two tries: there is time for two at least
    first_us: int
    next_us: int
    end_us: int
    tries: int
    done: Callable[[Outcome], None]


class Commands:
    """Those of one session.

    Args:
        send: takes a message and the time; false when the line does not.
        retry_us: wait before a command without an ack is sent again, at first and at least.

    Attributes:
        wait_us: the same as it is now.
        number: of the newest command.
        retries: times that one was sent again.
    """

    def __init__(self, send: Callable[[Message, int], bool], retry_us: int) -> None:
        self.number = self.retries = 0
        self._send, self._least_us, self.wait_us = send, retry_us, retry_us
        self._mean_us, self._spread_us = -1, 0
        self._waiting: dict[int, _Waiting] = {}

    def next_number(self) -> int:
        """Number for a new command; wraps."""
        self.number = (self.number + 1) & MASK
        return self.number

    def start(self, command: Command, ttl_us: int, now_us: int, done: Callable[[Outcome], None]) -> bool:
        """Send it and wait for its ack; false and nothing waits when the line does not take it."""
        waiting = _Waiting(command, ttl_us // 3, now_us, 0, now_us + ttl_us, 0, done)
        if not self._try(waiting, now_us):
            return False
        for older in self._waiting.values():
            if older.command.actuator == command.actuator:
                older.next_us = older.end_us  # its ack still counts, but the board refuses repetitions of what is no longer the newest
        self._waiting[command.number] = waiting
        return True

    def acknowledged(self, ack: CommandAck, now_us: int) -> None:
        """An ack of this session came."""
        waiting = self._waiting.pop(ack.number, None)
        if waiting is not None:
            if waiting.tries == 1:
                self._learn(now_us - waiting.first_us)
            status = Status(ack.status) if ack.status < len(Status) else Status.REFUSED
            waiting.done(Outcome(ack.number, status, ack.value, waiting.tries, now_us - waiting.first_us))

    def poll(self, now_us: int, latest_us: int) -> int:
        """Send again what is due, end what is over.

        Returns:
            When something is due again, ``latest_us`` at the latest.
        """
        is_doubled = False  # once, however many were in the same lost piece of the line's time
        for waiting in list(self._waiting.values()):
            if now_us >= waiting.end_us:
                self._give_up(waiting, now_us)
            elif now_us >= waiting.next_us:
                self.retries += 1
                if not is_doubled:
                    is_doubled = True
                    self.wait_us = min(2 * self.wait_us, LONGEST_WAIT_US)
                self._try(waiting, now_us)
        return min(latest_us, *(min(waiting.next_us, waiting.end_us) for waiting in self._waiting.values()), latest_us)

    def give_up(self, now_us: int) -> None:
        """The board is gone, or is another one: what waits ends without an ack."""
        for waiting in list(self._waiting.values()):
            self._give_up(waiting, now_us)
        self.wait_us = self._estimate_us()  # without what silence doubled: the line that comes back is not as slow as a cut one

    def _try(self, waiting: _Waiting, now_us: int) -> bool:
        waiting.tries += 1
        waiting.next_us = now_us + min(self.wait_us, waiting.longest_us)
        return self._send(waiting.command, now_us)

    def _learn(self, took_us: int) -> None:
        if self._mean_us < 0:
            self._mean_us, self._spread_us = took_us, took_us // 2
        else:
            self._spread_us += (abs(took_us - self._mean_us) - self._spread_us) // 4
            self._mean_us += (took_us - self._mean_us) // 8
        self.wait_us = self._estimate_us()

    def _estimate_us(self) -> int:
        if self._mean_us < 0:
            return self._least_us
        margin_us = max(self._least_us // 2, 4 * self._spread_us)
        return min(max(self._least_us, self._mean_us + margin_us), LONGEST_WAIT_US)

    def _give_up(self, waiting: _Waiting, now_us: int) -> None:
        self._waiting.pop(waiting.command.number, None)
        waiting.done(Outcome(waiting.command.number, None, waiting.command.value, waiting.tries, now_us - waiting.first_us))
