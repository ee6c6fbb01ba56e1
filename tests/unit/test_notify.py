"""What is told to a service manager whose socket is full for a while."""

import socket

import pytest

from edge.daemon.notify import Notifier


def test_what_was_not_taken_is_told_again(tmp_path):
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notifier = Notifier(str(tmp_path / "notify"), watchdog_ns=2_000_000_000)
    notifier.ready("running guard")  # nobody listens yet
    notifier.alive(1)
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    notifier.alive(2)  # long before the next one is due
    assert [manager.recv(100) for _ in range(2)] == [b"READY=1\nSTATUS=running guard", b"WATCHDOG=1"]
    notifier.alive(3)
    with pytest.raises(BlockingIOError):  # told once, it is not due for a second
        manager.recv(100)
    notifier._socket.close()
    manager.close()
