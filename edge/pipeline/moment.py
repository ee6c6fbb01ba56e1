"""What holds for every decision, and what is known of the vector that one is made on: plain values."""

import msgspec


class Terms(msgspec.Struct, frozen=True):
    """What holds for every decision.

    Args:
        budget_ns: from receipt to hand-over.
        goes_safe_on_overrun: a frame without time left moves the device's actuators to their safe values; otherwise it is skipped.
        may_go_smaller: a smaller variant may be used when time is short.
        boot_id: of this run; part of every alert and command.
    """

    budget_ns: int
    goes_safe_on_overrun: bool
    may_go_smaller: bool
    boot_id: str


class Moment(msgspec.Struct, gc=False):
    """The vector to decide on: whose, from when, and when now is.

    Args:
        lane: the device's lane.
        seq: counter of the frame, or -1.
        stamp_ns: the sender's stamp of the row that completed the vector.
        received_ns: when the frame's bytes were read.
        origin_ns: CLOCK_MONOTONIC that ages count from: the stamp with a synced clock, the receipt otherwise.
        now_ns: the pipeline's time.
    """

    lane: int
    seq: int
    stamp_ns: int
    received_ns: int
    origin_ns: int
    now_ns: int
