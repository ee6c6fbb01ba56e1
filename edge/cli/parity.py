"""`edge parity`: the same recording through the live path, message by message, and through the batch path; their vectors must be equal.

Both run side by side, so that no more vectors are in memory than the batch path lags behind.
"""

from collections import deque
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import typer

from edge.cli.damage import Damage
from edge.messages import Prediction, RawMessage
from edge.pipeline.batch import Batch
from edge.pipeline.recipe import Pipeline
from edge.store.recording import RecordingInfo, info, read

Vector = tuple[int, npt.NDArray[np.float32]]


class Difference(msgspec.Struct, frozen=True):
    """Where the two paths part for the first time.

    Args:
        device: whose vector.
        number: of the vector, from 0 on, within the device.
        what: both sides in words.
    """

    device: str
    number: int
    what: str


class Comparison:
    """Vectors of two paths, device by device, compared as they come.

    Attributes:
        compared: vectors, by device.
        first: the first difference, None as long as everything is equal.
        beyond: vectors that are different, or there on one side only.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.compared: dict[str, int] = {}
        self.first: Difference | None = None
        self.beyond = 0
        self._names = names
        self._live: dict[str, deque[Vector]] = {}

    def add_live(self, prediction: Prediction) -> None:
        """Take a vector that live decided on."""
        assert prediction.features is not None  # noqa: S101 - kept predictions have them
        self._live.setdefault(prediction.device, deque()).append((prediction.stamp_ns, prediction.features))

    def add_batch(self, device: str, stamps: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]) -> None:
        """Take vectors of the batch path; live must have made the same ones before."""
        waiting = self._live.setdefault(device, deque())
        for stamp, vector in zip(stamps.tolist(), vectors, strict=True):
            if not waiting:
                self._differ(device, f"stamp {stamp}: batch makes a vector that live does not make")
                continue
            live_stamp, live = waiting.popleft()
            if live_stamp != stamp:
                self._differ(device, f"its stamp is {live_stamp} live and {stamp} in batch")
            elif live.tobytes() != vector.tobytes():
                self._differ(device, f"stamp {stamp}: {self._parted(live, vector)}")
            self.compared[device] = self.compared.get(device, 0) + 1

    def finish(self) -> None:
        """No more vectors."""
        for device, waiting in self._live.items():
            if waiting:
                self._differ(device, f"stamp {waiting[0][0]}: live makes {len(waiting)} vectors that batch does not make")

    def _differ(self, device: str, what: str) -> None:
        self.beyond += 1
        if self.first is None:
            self.first = Difference(device, self.compared.get(device, 0), what)

    def _parted(self, live: npt.NDArray[np.float32], batch: npt.NDArray[np.float32]) -> str:
        bits = [np.ascontiguousarray(side).view(np.uint32) for side in (live, batch)]
        i = int(np.flatnonzero(bits[0] != bits[1])[0])
        return f"{self._names[i]} is {live[i]!s} ({bits[0][i]:#010x}) live and {batch[i]!s} ({bits[1][i]:#010x}) in batch"


def compare_file(file: Path, recording: Path, damage: int | None) -> int:
    """Compares, and prints the verdict.

    Args:
        file: pipeline file; its model is not needed.
        recording: MCAP file.
        damage: seed of a damaged copy to compare on as well.

    Returns:
        0 when every vector is equal and there is at least one; otherwise 1.

    Raises:
        EdgeError: the recording or the file is refused.
    """
    from edge.build import batch_of, features_only, pipeline_of
    from edge.config.load import load

    config = load(file, with_model=False)
    held = info(recording)
    batch = batch_of(config)
    cut = ", cut: its writer was killed" if held.is_truncated else ""
    typer.echo(f"recording   {recording}: {held.messages} messages{cut}")
    verdicts = []
    for seed in [None] if damage is None else [None, damage]:
        damaged = Damage(read(recording), seed)
        live = pipeline_of(features_only(config), boot_id="parity")
        comparison = compare(live, batch, damaged if seed is not None else read(recording), held)
        what = "intact      " if seed is None else f"damaged     seed {seed}: {damaged}; "
        typer.echo(what + verdict(comparison, len(batch.plan.names)))
        if comparison.first is not None and live.lanes.evictions:
            typer.echo(f"note        live forgot devices {live.lanes.evictions} times: lanes = {config.lanes} is too little for them")
        verdicts.append(comparison.first is None and bool(comparison.compared))
    return 0 if all(verdicts) else 1


def compare(live: Pipeline, batch: Batch, messages: Iterable[RawMessage], held: RecordingInfo) -> Comparison:
    """Run both paths over the same messages.

    Args:
        live: fresh.
        batch: of the same config.
        messages: in the order of reception.
        held: about the recording they come from.
    """
    comparison = Comparison(batch.plan.names)
    run = batch.run(comparison.add_batch, wall_offset_ns=held.offset_ns)
    live.run_on(None, held.offset_ns)
    kept: list[Prediction] = []
    live.decisions.kept = kept
    for raw in messages:
        live.step(raw)
        for prediction in kept:
            comparison.add_live(prediction)
        kept.clear()
        run.step(raw)
    end_ns = max(held.stopped_ns or 0, held.end_ns or 0)
    live.tick(end_ns)
    live.stop(end_ns)
    for prediction in kept:
        comparison.add_live(prediction)
    run.finish(end_ns)
    comparison.finish()
    return comparison


def verdict(comparison: Comparison, features: int) -> str:
    """The outcome in one line."""
    total = sum(comparison.compared.values())
    if comparison.first is not None:
        first = comparison.first
        return f"DIFFERENT, {comparison.beyond} times; first: device {first.device!r}, vector {first.number}, {first.what}"
    if not total:
        return "no vector was ever complete, so nothing was compared"
    return f"{total} vectors of {features} features, {len(comparison.compared)} devices: equal to the last bit"
