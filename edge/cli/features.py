"""`edge features`: stored data to a table of feature vectors, on all cores, the same bytes whatever their number.

Inputs are computed by file and by device in processes of their own, which leave their vectors in files beside the output; this process
puts them together in one order. Memory does not grow with the input.
"""

import multiprocessing
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import typer

from edge.cli.feature_jobs import Job, Outcome, Part, parts_of, side_by_side, slices, spill, unspill
from edge.errors import EdgeError, TransportError
from edge.features.offline import arrow_schema, arrow_table
from edge.features.plan import FeaturePlan
from edge.features.rows import arrow
from edge.pipeline.batch import Batch

_SMALL_BYTES = 128 << 20  # of all inputs together: starting processes takes longer than computing
_MESSAGE_COST = 20  # a byte of a recording takes so many times as long as a byte of a table
_GROUP_NUMBERS = 4 << 20  # float32 numbers in one row group
_worker: dict[str, Any] = {}  # of a process of the pool: the batch, and where progress is told

Report = Callable[[float], None]


class Request(msgspec.Struct):
    """What the command line asks for.

    Args:
        file: pipeline file.
        jobs: one for each input, in order.
        out: Parquet file to write.
        processes: at most so many; None: as many as there are cores, one for little data.
    """

    file: Path
    jobs: list[Job]
    out: Path
    processes: int | None = None


def write_features(request: Request) -> int:
    """Computes and writes; prints what became of the rows.

    Args:
        request: see there.

    Returns:
        The exit code.

    Raises:
        EdgeError: the pipeline file is refused, an input cannot be used, or the output cannot be written. No output is left then.
    """
    from edge.build import load_features

    arrow()
    batch = load_features(request.file)
    for job in request.jobs:
        if job.path.exists() and request.out.exists() and job.path.samefile(request.out):
            raise TransportError(f"{request.out}: is an input; write to another file")
    processes = request.processes or (1 if _bytes(request.jobs) < _SMALL_BYTES else os.cpu_count() or 1)
    outcome, started_s = Outcome(), time.perf_counter()
    with _written(request.out, batch.plan) as writer, _progress(len(request.jobs)) as report:
        compute = _alone if processes == 1 else _together
        for part in compute(batch, request, processes, outcome, report):
            writer.add(part)
    for line in summary(batch, request, outcome, writer.rows, time.perf_counter() - started_s):
        typer.echo(line)
    return 0 if writer.rows else 1


def _alone(batch: Batch, request: Request, processes: int, outcome: Outcome, report: Report) -> Iterator[Part]:
    del processes
    for number, job in enumerate(request.jobs):
        mine = Outcome()
        for piece in slices(batch, job, mine, lambda done, before=number: report(before + done)):  # type: ignore[misc]
            yield from piece
        outcome.add(mine, same_file=False)


def _together(batch: Batch, request: Request, processes: int, outcome: Outcome, report: Report) -> Iterator[Part]:
    each = max(1, -(-processes // len(request.jobs)))
    tasks: list[list[Job]] = []
    for job in request.jobs:
        parts = parts_of(job.path, job.device, job.columns, each)
        tasks.append([msgspec.structs.replace(job, part=part, parts=parts) for part in range(parts)])
    total = sum(map(len, tasks))
    context = multiprocessing.get_context("spawn")  # arrow and the kernels have threads, which a fork would lose
    done = context.Array("d", total)
    folder = tempfile.TemporaryDirectory(prefix=".edge-features-", dir=request.out.parent)
    pool = ProcessPoolExecutor(min(processes, total), context, _start, (request.file, done))
    try:
        with folder as name:
            waiting = deque(_submitted(pool, tasks, Path(name)))
            while waiting:
                paths, futures = waiting.popleft()
                while any(not future.done() for future in futures):
                    report(sum(done[:]) * len(request.jobs) / total)
                    time.sleep(0.05)
                for number, future in enumerate(futures):
                    outcome.add(_result(future), same_file=number > 0)
                yield from side_by_side([unspill(path, len(batch.plan.names)) for path in paths])
                for path in paths:
                    path.unlink()
    finally:
        pool.shutdown(cancel_futures=True)


def _submitted(pool: ProcessPoolExecutor, tasks: list[list[Job]], folder: Path) -> list[tuple[list[Path], list[Future[Any]]]]:
    found, number = [], 0
    for jobs in tasks:
        paths = [folder / f"{number + i}.arrow" for i in range(len(jobs))]
        found.append((paths, [pool.submit(_work, job, paths[i], number + i) for i, job in enumerate(jobs)]))
        number += len(jobs)
    return found


def _result(future: "Future[Outcome | str]") -> Outcome:
    try:
        result = future.result()
    except (OSError, RuntimeError) as fault:  # the process was killed, most likely for its memory
        raise TransportError(f"a process ended by itself: {fault}") from fault
    if isinstance(result, str):
        raise TransportError(result)
    return result


def _start(file: Path, done: Any) -> None:
    from edge.build import load_features

    _worker.update(batch=load_features(file), done=done)


def _work(job: Job, path: Path, number: int) -> Outcome | str:
    outcome = Outcome()

    def report(share: float) -> None:
        _worker["done"][number] = share

    try:
        spill(slices(_worker["batch"], job, outcome, report), len(_worker["batch"].plan.names), path)
    except EdgeError as fault:
        return str(fault)
    report(1.0)
    return outcome


# -- the output ----------------------------------------------------------------------------------------------------------------


class _Writer:
    """Row groups of one size, whatever the sizes of the parts."""

    def __init__(self, file: Any, plan: FeaturePlan) -> None:
        import pyarrow.parquet as pq

        self.rows = 0
        self._schema = arrow_schema(plan.names, plan.units, plan.hash)
        self._file = pq.ParquetWriter(file, self._schema, compression="zstd", compression_level=1, use_dictionary=["device"])
        self._size = max(1024, min(65_536, _GROUP_NUMBERS // len(plan.names)))
        self._parts: list[Part] = []
        self._waiting = 0

    def add(self, part: Part) -> None:
        device, stamps, vectors = part
        while len(stamps):
            n = min(len(stamps), self._size - self._waiting)
            self._parts.append((device, stamps[:n], vectors[:n]))
            stamps, vectors = stamps[n:], vectors[n:]
            self._waiting += n
            if self._waiting == self._size:
                self._flush()

    def close(self) -> None:
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._waiting:
            device = np.repeat(np.array([part[0] for part in self._parts], object), [len(part[1]) for part in self._parts])
            stamps, vectors = (np.concatenate([part[i] for part in self._parts]) for i in (1, 2))
            self._file.write_table(arrow_table(self._schema, device, stamps, vectors), row_group_size=self._size)
        self.rows += self._waiting
        self._parts.clear()
        self._waiting = 0


@contextmanager
def _written(out: Path, plan: FeaturePlan) -> Iterator[_Writer]:
    """A file that appears under its name when it is whole."""
    beside = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            writer = _Writer(file, plan)
            try:
                yield writer
            finally:
                writer.close()  # also of a file that is given up: arrow would complain later
        beside.replace(out)
    except OSError as fault:  # of the output: those of the inputs are TransportErrors already
        raise TransportError(f"{out}: {fault.strerror or fault}") from fault
    finally:
        with suppress(OSError):
            beside.unlink()


@contextmanager
def _progress(total: int) -> Iterator[Report]:
    import sys

    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("features", total=total)
        yield lambda done: bar.update(task, completed=done)


# -- words ---------------------------------------------------------------------------------------------------------------------


def summary(batch: Batch, request: Request, outcome: Outcome, vectors: int, took_s: float) -> list[str]:
    """What became of the rows, as lines for people.

    Args:
        batch: the features.
        request: what was asked for.
        outcome: of all jobs.
        vectors: how many were written.
        took_s: how long it took.
    """
    received = sum(counts["received"] for counts in outcome.streams.values())
    size = request.out.stat().st_size / 1e6
    lines = [f"pipeline    {batch.name}: {len(batch.plan.names)} features, hash {batch.plan.hash[:12]}"]
    if outcome.is_truncated:
        lines.append("input       cut: its writer was killed; everything before the cut was used")
    lines += [f"stream      {name}: {stream_line(counts)}" for name, counts in outcome.streams.items() if counts["received"]]
    if outcome.unrouted:
        lines.append(f"unrouted    {outcome.unrouted} messages on topics of no stream")
    lines.append(f"vectors     {vectors} of {len(outcome.devices)} devices in {request.out} ({size:.1f} MB)")
    lines.append(f"speed       {took_s:.2f} s, {received / max(took_s, 1e-9):.0f} rows/s")
    silent = [name for name in batch.needed if not outcome.streams.get(name, {}).get("used")]
    if silent:
        lines.append(f"note        no row of {', '.join(silent)} was used, which the features need")
    elif not vectors:
        lines.append(f"note        {_why_none(batch, outcome)}")
    return lines


def _why_none(batch: Batch, outcome: Outcome) -> str:
    """The likeliest reason for no vectors at all."""
    refused: dict[str, int] = {}
    for counts in outcome.streams.values():
        for kind in ("invalid", "dropped"):
            for reason, n in counts[kind].items():
                refused[reason] = refused.get(reason, 0) + n
    used = sum(counts["used"] for counts in outcome.streams.values())
    if refused and sum(refused.values()) > used:
        return f"most rows were refused, {max(refused, key=lambda reason: refused[reason])} first of all"
    tables = f", or no device has a row in {', '.join(batch.plan.tables)}" if batch.plan.tables else ""
    others = "; streams whose stamps have different origins never meet" if len(batch.needed) > 1 else ""
    return f"no window was ever full: the data are shorter than the longest window, or have gaps that empty it{tables}{others}"


def stream_line(counts: dict[str, Any]) -> str:
    """The accounting of a stream as `edge replay` prints it."""
    parts = [f"{counts[part]} {part}" for part in ("used", "held", "late", "duplicate")]
    for part in ("invalid", "dropped"):
        reasons = ", ".join(f"{name} {n}" for name, n in counts[part].items())
        parts.append(f"{sum(counts[part].values())} {part}" + (f" ({reasons})" if reasons else ""))
    return f"{counts['received']} received = " + " + ".join(parts)


def _bytes(jobs: list[Job]) -> int:
    files = [job.path for job in jobs if job.path.is_file()]
    return sum(path.stat().st_size * (_MESSAGE_COST if path.suffix == ".mcap" else 1) for path in files)
