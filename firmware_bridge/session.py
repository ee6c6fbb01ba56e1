"""The host's side of one line, without the line: order, signatures, session, clock, commands. Owns no file and no clock.

Bytes in and the time in, messages and bytes out; so a file descriptor, a test and a simulator drive the same object.
"""

import secrets
from collections.abc import Callable
from struct import error as StructError  # noqa: N812

import msgspec

from firmware_bridge import auth, messages
from firmware_bridge.clock import BoardClock
from firmware_bridge.commands import MASK, Commands, Outcome
from firmware_bridge.framing import Decoder, Frame, encode, header
from firmware_bridge.order import Follower
from firmware_bridge.protocol import FLAG_SIGNED, FLAG_TO_BOARD, REASONS

HELLO_US = 250_000  # between two requests that get no answer
BEAT_US = 50_000  # between two heartbeats
SYNC_US = 500_000  # between two looks at the board's clock; the first ones come faster
QUIET_US = 1_000_000  # without a frame: the board is lost
BOOTS_KEPT = 32  # whose counters are remembered; then the session takes a new number
_FLOAT32_MAX = 3.4028234663852886e38
_LATEST_US = (1 << 64) - 1
_DIRECTION, _UNKNOWN, _REPEATED, _UNSIGNED, _FORGED, _REPLAYED = (
    [reason for reason, _ in REASONS].index(name) for name in ("direction", "unknown", "repeated", "unsigned", "forged", "replayed")
)


class Received(msgspec.Struct, frozen=True, gc=False):
    """One message that was taken.

    Args:
        message: decoded.
        stream: of telemetry and scans.
        stamp_us: board's clock.
        received_us: host's clock when its bytes were read.
    """

    message: messages.Message
    stream: int
    stamp_us: int
    received_us: int


class _Boot(msgspec.Struct):
    """Newest counters of signed frames in one boot, either way. Kept as long as the session's number, or frames could be replayed."""

    from_board: int = 0
    to_board: int = 0


class Session:
    """One line.

    Args:
        key: shared with the board, or None: nothing is signed.
        send: takes the bytes of a whole frame; false when the line does not.
        retry_us: wait before a command without an ack is sent again.

    Attributes:
        hello: what the board said of itself; None while it is not there.
        boots: of the board that were seen; one that comes back after its cable was out is the same boot.
    """

    def __init__(self, key: bytes | None, send: Callable[[bytes], bool], retry_us: int = 20_000) -> None:
        self.decoder = Decoder()
        self.order = Follower()
        self.clock = BoardClock()
        self.hello: messages.Hello | None = None
        self.session = secrets.randbits(63) | 1
        self.used = self.boots = 0
        self.commands = Commands(self.send, retry_us)
        self._key, self._send = key, send
        self._seq = 0
        self._boots: dict[int, _Boot] = {}
        self._last_boot_id: int | None = None  # outlives a lost line
        self._is_doubtful = False  # whether the board is still the one that said hello
        self._boot_id: int | None = None
        self._heard_us = self._hello_us = self._beat_us = self._sync_us = -(10**12)

    # -- in ------------------------------------------------------------------------------------------------------------------

    def feed(self, data: bytes, now_us: int) -> list[Received]:
        """Messages that these bytes complete."""
        found = []
        for frame in self.decoder.feed(data):
            taken = self._take(frame, now_us)
            if taken is not None:
                found.append(taken)
        return found

    def _take(self, frame: Frame, now_us: int) -> Received | None:
        reason = self._check(frame)
        if reason is not None:
            self.decoder.refused[reason] += 1
            return None
        try:
            message = messages.decode(frame.type, frame.payload)
        except ValueError:
            self.decoder.refused[_UNKNOWN] += 1
            return None
        if isinstance(message, messages.Hello | messages.Heartbeat) and message.boot_id != self._boot_id:
            self.order.restart()
        if not self.order.follow(frame.seq):
            self.decoder.refused[_REPEATED] += 1
            return None
        self.used += 1
        self._heard_us = now_us
        self._act(message, now_us)
        return Received(message, frame.stream, frame.stamp_us, now_us)

    def _check(self, frame: Frame) -> int | None:
        if frame.flags & FLAG_TO_BOARD:
            return _DIRECTION
        if frame.type not in messages.FROM_BOARD:
            return _UNKNOWN
        if self._key is None or frame.type not in messages.SIGNED:
            return None
        if not frame.flags & FLAG_SIGNED:
            return _UNSIGNED
        return self._check_signature(frame, self._key)

    def _check_signature(self, frame: Frame, key: bytes) -> int | None:
        boot_id = self._boot_id
        if frame.type == messages.Hello.CODE:  # it names the boot that it is signed for; only an answer to our own request is fresh
            try:
                hello = messages.Hello.unpack(frame.payload)
            except StructError:
                return _UNKNOWN
            boot_id = hello.boot_id
            if hello.session != self.session:
                self._is_doubtful = True
                return _REPLAYED
        if boot_id is None:
            return _REPLAYED
        made = auth.tag(key, is_to_board=False, boot_id=boot_id, session=self.session, data=frame.signed)
        if not auth.is_right(frame.tag, made):
            self._is_doubtful = True  # of an attacker, or of a board that was reset: its answer to a new request will tell
            return _FORGED
        boot = self._boots.setdefault(boot_id, _Boot())  # the tag is right: only boots that the board really had get in here
        if frame.counter <= boot.from_board:
            return _REPLAYED
        boot.from_board = frame.counter
        return None

    def _act(self, message: messages.Message, now_us: int) -> None:
        if isinstance(message, messages.Hello):
            if message.session == self.session:
                self._meet(message, now_us)
            else:
                self._is_doubtful = True
        elif isinstance(message, messages.Heartbeat):
            self._is_doubtful |= message.boot_id != self._boot_id  # it was reset
        elif isinstance(message, messages.TimeResponse):
            self.clock.learn(message, now_us)
        elif isinstance(message, messages.CommandAck) and message.session == self.session & MASK:
            self.commands.acknowledged(message, now_us)

    def _meet(self, hello: messages.Hello, now_us: int) -> None:
        self._is_doubtful = False
        boot = self._boots.setdefault(hello.boot_id, _Boot())
        boot.to_board = max(boot.to_board, hello.counter)
        self._boot_id = hello.boot_id
        self.hello = hello
        if hello.boot_id == self._last_boot_id:
            return
        self.commands.give_up(now_us)  # meant for the board before its reset
        self._last_boot_id = hello.boot_id
        self.boots += 1
        self._forget_clock()
        if len(self._boots) > BOOTS_KEPT:
            self._renew(now_us)

    def _forget_clock(self) -> None:
        self.clock = BoardClock()
        self._sync_us = -(10**12)

    def _renew(self, now_us: int) -> None:
        """Another number for the session: whatever was signed for the old one is void, and its counters can be forgotten."""
        self.session = secrets.randbits(63) | 1
        self._boots.clear()
        self.lose(now_us)

    # -- out -----------------------------------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether a command can be sent: the board said hello, and its clock is known."""
        return self.hello is not None and self.clock.is_known

    def is_alive(self, now_us: int) -> bool:
        """Whether the board said anything of late."""
        return now_us - self._heard_us <= QUIET_US

    def lose(self, now_us: int) -> None:
        """The board or the line is gone: say hello anew; what waits for an ack ends without one."""
        self.hello = None
        self._boot_id = None
        self._hello_us = -(10**12)
        self.decoder.reset()
        self.order.restart()
        self.commands.give_up(now_us)
        self._forget_clock()  # it may have stood still meanwhile

    def poll(self, now_us: int) -> int:
        """Send what is due: hello requests, heartbeats, clock requests, commands again.

        Returns:
            When it wants to be called again, at the latest, in microseconds of the host's clock.
        """
        if (self.hello is None or self._is_doubtful) and now_us - self._hello_us >= HELLO_US:
            self._hello_us = now_us
            self.send(messages.HelloRequest(self.session), now_us)
        if self.hello is None:
            return now_us + HELLO_US // 4
        if not self.is_alive(now_us):
            self.lose(now_us)
            return now_us
        if now_us - self._beat_us >= BEAT_US:
            self._beat_us = now_us
            self._beat(now_us)
        if now_us - self._sync_us >= (SYNC_US if self.clock.is_settled else SYNC_US // 16):
            self._sync_us = now_us
            self.send(messages.TimeRequest(now_us), now_us)
        return self.commands.poll(now_us, now_us + BEAT_US // 4)

    def command(self, actuator: int, value: float, ttl_us: int, now_us: int, done: Callable[[Outcome], None]) -> int | None:
        """Send a command, again and again until the board acknowledges it or its life is over.

        Its deadline on the board is earlier than the end of its life by what the board's clock may be wrong: half of the shortest way of
        the last few answers. So it is never obeyed after its life, and on a line slower than that it cannot be sent at all.

        Args:
            actuator: number in the schema.
            value: in the actuator's unit.
            ttl_us: life from now on.
            now_us: host's clock.
            done: called once with what became of it.

        Returns:
            Its number; None when the board is not there, its clock is not known or not well enough for this life, the value is no
            float32, or the line takes no more: then nothing was sent.
        """
        left_us = ttl_us - self.clock.error_at(now_us)
        if not self.is_ready or left_us <= 0 or self._boot_id is None or not abs(value) <= _FLOAT32_MAX:
            return None
        deadline_us = self.clock.board_us(now_us) + left_us
        if not 0 < deadline_us <= _LATEST_US:
            return None
        number = self.commands.next_number()
        command = messages.Command(deadline_us, self._boot_id & MASK, self.session & MASK, number, value, actuator, 0)
        return number if self.commands.start(command, ttl_us, now_us, done) else None

    def _beat(self, now_us: int) -> None:
        received, lost = self.decoder.received, self.order.lost
        refused = received - self.used
        beat = messages.Heartbeat(self._boot_id or 0, received & MASK, refused & MASK, lost & MASK, messages.State.RUNNING, 255)
        self.send(beat, now_us)

    def send(self, message: messages.Message, now_us: int) -> bool:
        """Send one message once; false when the line does not take it."""
        payload = message.pack()
        is_signed = self._key is not None and message.CODE in messages.SIGNED
        flags = FLAG_TO_BOARD | (FLAG_SIGNED if is_signed else 0)
        frame = header(message.CODE, flags, 0, self._seq, now_us, payload)
        self._seq = (self._seq + 1) & 0xFFFF
        if is_signed and self._key is not None:
            if self._boot_id is None or self._boots[self._boot_id].to_board >= MASK:
                return False
            boot = self._boots[self._boot_id]
            boot.to_board += 1
            frame += boot.to_board.to_bytes(4, "little")
            frame += auth.tag(self._key, is_to_board=True, boot_id=self._boot_id, session=0, data=frame)
        return self._send(encode(frame))

    def counts(self) -> dict[str, int]:
        """What came, used and refused by reason (the first is the sum of the others); and what is counted beside."""
        refused = {name: int(n) for (name, _), n in zip(REASONS, self.decoder.refused, strict=True)}
        order = {"lost": self.order.lost, "late": self.order.late, "restarts": self.order.restarts}
        beside = {"boots": self.boots, "retries": self.commands.retries}
        return {"received": self.decoder.received, "used": self.used, **refused, **order, **beside}
