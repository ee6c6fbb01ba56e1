"""Where the microseconds of a frame go: times each stage of the hot path alone, in one process, without a broker.

usage: python benchmarks/micro.py [--rows 100]
"""

import argparse
import logging
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from roundtrip import make_bundle, rig

from edge import build
from edge.messages import Origin, Outgoing, Prediction, RawMessage
from edge.pipeline.moment import Moment
from edge.pipeline.recipe import Pipeline
from edge.transport.packets import PacketSocket, publish_header, publish_prefix

CHANNELS = 8
STEP_NS = 100_000
CALLS = 20_000
ROUNDS = 7
PACKETS = 16  # in one read, as under load

_Stage = tuple[str, Callable[[int], object], int]  # what, one call, messages a call


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1, help="samples a message: 1 or 100 (default 1)")
    rows = parser.parse_args().rows
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="edge-micro-") as temporary:
        bundle = make_bundle.make(Path(temporary) / "roundtrip-mlp")
        file = Path(temporary) / "pipeline.toml"
        text = (rig.HERE / ("pipeline.toml" if rows == 1 else "blocks.toml")).read_text()
        file.write_text(text.replace('"roundtrip-mlp"', f'"{bundle.parent}"'))
        parts, whole = (build.load(file, clock=time.monotonic_ns) for _ in range(2))
        calls = CALLS if rows == 1 else CALLS // 10
        nothing = _best(lambda _: None, calls)[0]
        print(f"| stage, {rows} samples a message | best, us | median, us |\n|---|---:|---:|")
        for title, call, messages in [*_intake(parts, rows), *_decision(parts), *_whole(whole, rows, calls), *_link(rows)]:
            best, median = _best(call, calls)
            print(f"| {title} | {(best - nothing) / messages / 1e3:.2f} | {(median - nothing) / messages / 1e3:.2f} |", flush=True)


def _best(call: Callable[[int], object], calls: int) -> tuple[float, float]:
    """Least and median ns of a call, over rounds; the argument rises over all of them."""
    found = []
    for first in range(0, calls * ROUNDS, calls):
        started = time.perf_counter_ns()
        for i in range(first, first + calls):
            call(i)
        found.append((time.perf_counter_ns() - started) / calls)
    return min(found), statistics.median(found)


def _payload(seq: int, rows: int, x: bytes) -> bytes:
    packed: bytes = msgpack.packb({"v": 1, "seq": seq, "t": (seq * rows + 1) * STEP_NS, "dt": STEP_NS, "x": x})
    return packed


def _samples(rows: int) -> bytes:
    return np.random.default_rng(7).normal(9.81, 0.7, (rows, CHANNELS)).astype("<f4").tobytes()


def _intake(pipeline: Pipeline, rows: int) -> Iterator[_Stage]:
    """From bytes to a feature vector."""
    intake: Any = pipeline.intakes[0]
    block, features = intake.block, pipeline.features
    payload = _payload(0, rows, _samples(rows))
    offsets = np.arange(rows, dtype=np.int64) * STEP_NS

    def restamp(i: int) -> None:
        block.n, block.seq = rows, i
        if rows == 1:
            block.stamps_view[0] = (i + 1) * STEP_NS
        else:
            np.add(offsets, (i * rows + 1) * STEP_NS, out=block.stamps[:rows])

    yield "read the clock", lambda _: time.monotonic_ns(), 1
    yield "make a RawMessage", lambda i: RawMessage(rig.TOPIC_IN, payload, i, is_retained=False), 1
    yield "decode", lambda _: intake.codec.decode(payload, block), 1
    yield "(set new stamps, for the next two)", restamp, 1
    yield "admit", lambda i: (restamp(i), intake.gate.admit(block, 0, 0)), 1
    yield "update the features", lambda i: (restamp(i), features.update(0, 0, block)), 1
    yield "update the features with no rows: the call alone", lambda _: (setattr(block, "n", 0), features.update(0, 0, block)), 1


def _decision(pipeline: Pipeline) -> Iterator[_Stage]:
    """From a feature vector to bytes."""
    decisions = pipeline.decisions
    vector = np.full(len(pipeline.features.plan.names), 9.81, np.float32)
    model: Any = decisions.model
    variant = model.choose(1 << 40, may_go_smaller=True)
    scores = variant.run(vector)
    yield "choose a variant", lambda _: model.choose(1 << 40, may_go_smaller=True), 1
    yield "run the model", lambda _: variant.run(vector), 1
    yield "observe", lambda _: model.observe(variant, 5000), 1
    yield "apply the rules (none)", lambda i: decisions.policy.decide(0, scores, vector, i, Origin()), 1
    yield "tell the envelope", lambda i: decisions.envelope.alive(0, i), 1
    yield "make a Prediction", lambda i: _prediction(i, model, scores), 1
    prediction = _prediction(12345, model, scores)
    yield "encode", lambda _: decisions.outputs.prediction(prediction), 1
    durations = (1000, 1000, 1000, 1000, 1000, 1000)
    yield "note the times", lambda i: pipeline.times.add(durations, i + 9000, i), 1
    out: list[Outgoing] = []
    pipeline.lanes.assign("one", 0, 0)

    def decide(i: int) -> None:
        now = time.monotonic_ns()
        decisions.decide(Moment(0, i, (i + 1) * STEP_NS, now, now, now), vector, out)
        out.clear()

    yield "**decide: all of these**", decide, 1


def _whole(pipeline: Pipeline, rows: int, calls: int) -> Iterator[_Stage]:
    """The recipe."""
    x = _samples(rows)
    payloads = [_payload(i, rows, x) for i in range(calls * ROUNDS)]

    def step(i: int) -> None:
        pipeline.step(RawMessage(rig.TOPIC_IN, payloads[i], time.monotonic_ns(), is_retained=False))

    yield "**step: from payload to bytes**", step, 1


def _prediction(seq: int, model: Any, scores: list[float]) -> Prediction:
    named = dict(zip(model.labels, scores, strict=True))
    return Prediction("one", seq, seq, seq, named, None, model.name, model.version, "model")


def _link(rows: int) -> Iterator[_Stage]:
    """The socket's side: packets out of a read, packets into a write. A socket pair: no TCP, no broker."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    ours.setblocking(False)
    link = PacketSocket(ours, 65_536, is_v5=True, on_publish=lambda *_: None, on_oversized=lambda _: None, on_control=lambda: None)
    prefix = publish_prefix(rig.TOPIC_IN, is_v5=True)
    payload = _payload(1, rows, _samples(rows))
    packet = publish_header(len(prefix) + len(payload)) + prefix + payload
    batch = packet * (PACKETS if rows == 1 else 4)

    def read_one(_: int) -> None:
        theirs.send(packet)
        link.read()

    def read_batch(_: int) -> None:
        theirs.send(batch)
        link.read()

    yield "(write one packet to a socket pair and read it back)", lambda _: (theirs.send(packet), ours.recv(1 << 17)), 1
    yield "the same, and take it apart", read_one, 1
    yield f"the same with {len(batch) // len(packet)} packets in one read, each", read_batch, len(batch) // len(packet)
    answer = bytes(150)

    def write_one(_: int) -> None:
        link.queue(publish_header(len(prefix) + len(answer)), prefix, answer)
        link.flush()
        theirs.recv(1 << 17)

    yield "write one answer, and read it back at the other end", write_one, 1


if __name__ == "__main__":
    main()
