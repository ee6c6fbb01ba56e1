"""Telling the service manager how we are (sd_notify): one datagram to NOTIFY_SOCKET, nothing when there is none."""

import os
import socket

_SOCKET = "NOTIFY_SOCKET"
_WATCHDOG = "WATCHDOG_USEC"


class Notifier:
    """A connection to systemd, or to nothing.

    Args:
        address: path of the socket, ``@`` for the abstract namespace; "" for none.
        watchdog_ns: period within which ``alive`` must reach the manager; 0 for none.
    """

    def __init__(self, address: str = "", watchdog_ns: int = 0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._period_ns = watchdog_ns // 2
        self._next_ns = 0
        self._unsaid = ""  # that we are ready, while the manager's socket is full
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls) -> "Notifier":
        """What systemd told this process; the variables are taken out so that children do not answer in its name."""
        address = os.environ.pop(_SOCKET, "")
        usec = os.environ.pop(_WATCHDOG, "0")
        return cls(address, int(usec) * 1000 if usec.isdecimal() else 0)

    def ready(self, text: str) -> None:
        """Warmed up; or done with reloading."""
        self._unsaid = "" if self._send(f"READY=1\nSTATUS={text}") else f"READY=1\nSTATUS={text}"

    def reloading(self, now_ns: int) -> None:
        """A reload begins."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_ns // 1000}")

    def stopping(self) -> None:
        """Draining."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(f"STATUS={text}")

    def alive(self, now_ns: int) -> None:
        """Call from the loop itself: a loop that hangs stops calling, and the manager restarts us."""
        if self._unsaid and self._send(self._unsaid):
            self._unsaid = ""
        if self._period_ns and now_ns >= self._next_ns and self._send("WATCHDOG=1"):  # not taken: again at the next tick
            self._next_ns = now_ns + self._period_ns

    def _send(self, text: str) -> bool:
        if self._socket is not None:
            try:
                self._socket.sendto(text.encode(), self._address)
            except OSError:  # a manager that does not listen must not stop the machine
                return False
        return True
