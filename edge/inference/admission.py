"""A verified bundle to a model that may run: loads, proves and times it on this device. Owns the decision; the clock is real here."""

import logging
import math
import resource
import time
from collections.abc import Sequence
from itertools import cycle

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import BundleError, InferenceFault, TooSlowError
from edge.inference.bundle import Bundle, Report, quiet
from edge.inference.golden import GoldenVectors, read_golden
from edge.inference.session import Run, Session, Tensors
from edge.inference.states import States
from edge.inference.variants import BoundVariant, Inference

LEAST_RUNS, MOST_RUNS = 200, 1000
_ENOUGH_NS = 100_000_000  # no more runs than needed once they took this long
_WARM_UP_RUNS = 20
_FIRST_RUN_LIMIT_S = 10.0
_ATTEMPTS = 3  # a start is a busy moment: one stall must not take a good model away
_ATTEMPTS_PREEMPTED = 10  # of timings in which others had the processor: they tell of the others
_PAUSE_S = 0.02
_LISTED = 8  # names in a message

_log = logging.getLogger(__name__)


class Timing(msgspec.Struct, frozen=True):
    """How long runs took: 99th percentile and shortest, ns, and how many there were."""

    p99_ns: int
    shortest_ns: int
    runs: int


def admit(
    bundle: Bundle,
    feature_names: Sequence[str] | None = None,
    feature_hash: str | None = None,
    budget_ns: int | None = None,
    report: Report = quiet,
    lanes: int = 1,
) -> Inference:
    """Load, prove and time every variant of a bundle.

    Args:
        bundle: verified bytes.
        feature_names, feature_hash: the pipeline's; None: not compared. The names are for the message.
        budget_ns: of the pipeline; the manifest's holds as well.
        report: told of each check that held.
        lanes: devices whose states are kept.

    Returns:
        The model with the variants that fit, warm.

    Raises:
        BundleError: the features differ, a graph is not what the manifest says, or a golden output is off.
        TooSlowError: no variant is fast enough, and all else holds.
    """
    manifest = bundle.manifest
    if feature_hash is not None:
        _check_features(bundle, feature_names, feature_hash)
        report("features", f"the pipeline computes the {len(manifest.features)} that the model was trained on")
    budget_ns = manifest.budget_ns if budget_ns is None else min(budget_ns, manifest.budget_ns)
    golden = read_golden_of(bundle)
    states = States.of(manifest, lanes)
    tensors = Tensors.of(manifest)
    sessions = {
        variant.name: Session(bundle.files[variant.file], bundle.where(variant.file), tensors, states) for variant in manifest.variants
    }
    report("tensors", f"{', '.join(sessions)}: names, types and shapes are the manifest's")
    try:
        for name, session in sessions.items():
            if states is not None:
                states.reset(0)
            _prove(bundle, golden, name, session, max(_FIRST_RUN_LIMIT_S, budget_ns / 1e9))
        report("golden", f"{len(golden.inputs)} rows, {', '.join(sessions)}")
        fitting = _time(bundle, golden, sessions, budget_ns, report)
    except InferenceFault as e:
        raise BundleError(f"{e} (on the golden inputs; a graph that gives finite scores for them is right)") from e
    if states is not None:
        states.reset(0)
    return Inference(manifest.name, manifest.version, manifest.labels, [feature.name for feature in manifest.features], fitting, states)


def _check_features(bundle: Bundle, names: Sequence[str] | None, feature_hash: str) -> None:
    if feature_hash == bundle.manifest.feature_hash:
        return
    wanted = [feature.name for feature in bundle.manifest.features]
    details = _difference(wanted, list(names)) if names is not None else "the hashes differ"
    raise BundleError(
        f"{bundle.where('manifest.toml')}: the pipeline's features are not those the model was trained on: {details}; "
        "change [[features]] to the manifest's list, or train for the pipeline's"
    )


def _difference(wanted: list[str], given: list[str]) -> str:
    missing = [name for name in wanted if name not in set(given)]
    extra = [name for name in given if name not in set(wanted)]
    parts = [f"{what} {_some(names)}" for what, names in (("missing", missing), ("not expected", extra)) if names]
    if not parts and given != wanted:
        places = [f"{b} at {i} where {a} is expected" for i, (a, b) in enumerate(zip(wanted, given, strict=False)) if a != b]
        parts = [f"in another order: {_some(places)}"] if places else [f"{len(given)} where {len(wanted)} are expected"]
    return "; ".join(parts) or "names agree, but units differ"


def _some(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def read_golden_of(bundle: Bundle) -> GoldenVectors:
    """The golden vectors of a bundle.

    Raises:
        BundleError: see edge.inference.golden.read_golden.
    """
    manifest = bundle.manifest
    file, variants = manifest.golden.file, [variant.name for variant in manifest.variants]
    return read_golden(bundle.files[file], bundle.where(file), len(manifest.features), manifest.labels, variants)


def _prove(bundle: Bundle, golden: GoldenVectors, name: str, session: Session, limit_s: float) -> None:
    manifest = bundle.manifest
    where = bundle.where(next(variant.file for variant in manifest.variants if variant.name == name))
    session.first_run(golden.inputs[0], limit_s)
    if wrong := golden.compare(name, session.run, manifest.labels, manifest.golden.rtol, manifest.golden.atol):
        raise BundleError(
            f"{where}: variant {name!r} does not reproduce {manifest.golden.file}: {wrong}; "
            "train or export it again, or widen golden.rtol and golden.atol if the difference is harmless"
        )


def _time(bundle: Bundle, golden: GoldenVectors, sessions: dict[str, Session], budget_ns: int, report: Report) -> list[BoundVariant]:
    fitting, too_slow = [], []
    label = f"{bundle.manifest.name} {bundle.manifest.version}"
    for name, session in sessions.items():
        timing = time_runs(session.run, golden.inputs, budget_ns)
        found = f"{name}: p99 {_ms(timing.p99_ns)} over {timing.runs} runs, budget {_ms(budget_ns)}"
        if timing.p99_ns <= budget_ns:
            fitting.append(BoundVariant(name, session.run, timing.p99_ns))
            report("p99", found)
            _log.info("%s, variant %s", label, found)
        else:
            too_slow.append(found)
            report("excluded", found)
            _log.warning("%s, variant %s: excluded, too slow on this device", label, found)
    if not fitting:
        raise TooSlowError(
            f"{bundle.folder}: no variant is fast enough on this device: {'; '.join(too_slow)}; "
            "add a smaller variant, or raise budget_ms in the manifest and in the pipeline file"
        )
    return fitting


def time_runs(run: Run, inputs: npt.NDArray[np.float32], budget_ns: int) -> Timing:
    """Time warm runs over some inputs, again and again.

    A timing over the budget is repeated if the shortest run was within it, at most twice, or nine times if the thread was preempted as
    often as a run took too long; the best counts.

    Args:
        run: a variant's.
        inputs: float32 (N, F).
        budget_ns: ends a timing early once more than 1 % of LEAST_RUNS took longer.
    """
    rows = list(inputs)
    timings: list[Timing] = []
    told = 0  # timings that tell of the model
    while told < _ATTEMPTS and len(timings) < _ATTEMPTS_PREEMPTED:
        before = _preempted()
        timing, too_long = _time_once(run, rows, budget_ns)
        timings.append(timing)
        if timing.p99_ns <= budget_ns or timing.shortest_ns > budget_ns:
            break
        told += _preempted() - before < too_long
        time.sleep(_PAUSE_S)
    return min(timings, key=lambda timing: timing.p99_ns)


def _time_once(run: Run, rows: list[npt.NDArray[np.float32]], budget_ns: int) -> tuple[Timing, int]:
    """A timing, and how many of its runs were over the budget."""
    clock = time.perf_counter_ns
    took: list[int] = []
    too_long, began, allowed = 0, clock(), LEAST_RUNS - _rank(LEAST_RUNS)
    for i, row in enumerate(cycle(rows)):
        before = clock()
        run(row, 0)
        after = clock()
        if i < _WARM_UP_RUNS and after - began < _ENOUGH_NS:
            continue
        took.append(after - before)
        too_long += after - before > budget_ns
        n = len(took)
        if n == MOST_RUNS or (n >= LEAST_RUNS and after - began > _ENOUGH_NS) or (n < LEAST_RUNS and too_long > allowed):
            break
    took.sort()
    return Timing(took[_rank(len(took)) - 1], took[0], len(took)), too_long


def _preempted() -> int:
    """How often this thread lost the processor to another one; where the system does not count that for a thread, the process."""
    return resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)).ru_nivcsw


def _rank(n: int) -> int:
    """How many of n runs are at or below the 99th percentile."""
    return math.ceil(0.99 * n)


def _ms(ns: int) -> str:
    return f"{ns / 1e6:.3f} ms"
