"""A look at a board by hand, over its bench port: sets parameters, then prints what the board says of itself.

python -m firmware_bridge.hil.watch /dev/pts/6 blink_ms=250
"""

import os
import select
import sys
import time

from firmware_bridge import messages
from firmware_bridge.hil.emulator import BoardError, open_raw
from firmware_bridge.hil.frames import make_frame
from firmware_bridge.hil.recording import Recording
from firmware_bridge.protocol import FLAG_TO_BOARD

ASK_S, HEARD_S = 1.0, 10.0
SHOWN = ("state", "drive", "led", "probe", "loops", "loop_ms")


class Watch:
    """A board's bench port.

    Args:
        tty: its path.

    Raises:
        BoardError: there is no such tty.
    """

    def __init__(self, tty: str) -> None:
        self.tty, self._descriptor = tty, open_raw(tty)
        self._sent = 0
        self.recording = Recording()
        self.recording.has_bench = True

    def listen(self, seconds: float) -> None:
        """Takes what comes within that time."""
        if select.select([self._descriptor], [], [], seconds)[0]:
            self.recording.tap("bench", os.read(self._descriptor, 65536), time.monotonic_ns())

    def meet(self) -> None:
        """Waits for the board's hello.

        Raises:
            BoardError: it says none.
        """
        end = time.monotonic() + HEARD_S
        while self.recording.hello is None:
            if time.monotonic() > end:
                raise BoardError(f"{self.tty}: no hello within {HEARD_S:.0f} s: another firmware, or the port of the host?")
            self._send(messages.HelloRequest(session=1))
            until = time.monotonic() + ASK_S
            while self.recording.hello is None and time.monotonic() < until:
                self.listen(0.1)

    def set(self, name: str, value: float) -> None:
        """Asks for a parameter; the board says in its log what it took.

        Raises:
            BoardError: there is no such parameter.
        """
        if name not in self.recording.parameters:
            raise BoardError(f"the board has no parameter {name!r}; it has {', '.join(self.recording.parameters)}")
        number = self.recording.parameters[name]
        self._send(messages.ParameterSet(request=number, parameter=number, value=value))

    def _send(self, message: messages.Message) -> None:
        self._sent += 1
        os.write(self._descriptor, make_frame(message, seq=self._sent, flags=FLAG_TO_BOARD))


def main(words: list[str]) -> None:
    """Command line: a tty, then ``parameter=value``.

    Raises:
        BoardError: the board says nothing, or has no such parameter.
    """
    watch = Watch(words[0])
    watch.meet()
    for word in words[1:]:
        name, _, value = word.partition("=")
        watch.set(name, float(value))
    recording, shown = watch.recording, [0.0]
    while True:
        watch.listen(1.0)
        for at, text in recording.logged:
            sys.stdout.write(f"{at / 1e6:8.3f} s  log: {text}\n")
        recording.logged.clear()
        times, _, _ = recording.series("board.state")
        for at, *row in zip(times, *(recording.series(f"board.{name}")[1] for name in SHOWN), strict=True):
            if row != shown:
                line = "  ".join(f"{name} {value:g}" for name, value in zip(SHOWN, row, strict=True))
                sys.stdout.write(f"{at / 1e6:8.3f} s  {line}\n")
            shown = row
        recording.rows.clear()
        sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("say which tty: python -m firmware_bridge.hil.watch /dev/pts/6 [parameter=value ...]")
    try:
        main(sys.argv[1:])
    except BoardError as error:
        sys.exit(f"edge: {error}")
    except KeyboardInterrupt:
        pass
