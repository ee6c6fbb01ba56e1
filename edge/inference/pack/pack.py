"""A trained model to a bundle, step by step: read, understand, rewrite, compare, quantise, measure, write. Reads top to bottom."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import BundleError
from edge.inference.bundle import Report
from edge.inference.pack.adapt import adapt
from edge.inference.pack.int8 import distance, quantise, say_variant
from edge.inference.pack.order import Order
from edge.inference.pack.original import Original
from edge.inference.pack.publish import Contents, Form, check_target, publish
from edge.inference.pack.rewrite import Rewritten, class_names, rewrite
from edge.inference.pack.roles import Asked, Roles, roles_of
from edge.inference.pack.samples import Samples, read_samples
from edge.inference.pack.timing import compare_speed
from edge.inference.pack.truth import Truth, ask, few

Array = npt.NDArray[Any]


class Understood(msgspec.Struct, frozen=True):
    """A model of which all is known."""

    original: Original
    roles: Roles
    rewritten: Rewritten
    truth: Truth


def pack(order: Order, report: Report) -> Path:
    """Make a bundle.

    Args:
        order: what to pack.
        report: told of each step: its name, and what came of it.

    Returns:
        The version's folder; it is there with all it needs, or not at all.

    Raises:
        BundleError: anything that cannot be packed, in one line that says what would be right.
    """
    check_target(order.out, order.version)
    original = Original(order.model)
    report("read", f"{order.model}: {len(original.proto.graph.node)} nodes, {_opsets(original)}, all operators known")
    samples = read_samples(order.samples, order.names, [tensor.name for tensor in original.inputs])
    report("samples", f"{len(samples.rows)} with {len(order.names)} values each" + (", few: give some hundred" if few(samples) else ""))
    if len(samples.rows) > 1 and (still := np.flatnonzero(np.ptp(samples.rows, axis=0) == 0)).size:
        report("samples", f"never change: {_some([order.names[i] for i in still])}; is that so?")
    first, samples = _understand(original, samples, order, report)
    labels = _labels(first, order)
    report("labels", _some(labels))
    forms = [Form("full", first.rewritten.proto.SerializeToString(), "float32", first.truth.scores[first.truth.golden])]
    for at, path in enumerate(order.smaller, 2):
        forms.append(_smaller(path, f"smaller-{at - 1}" if len(order.smaller) > 1 else "smaller", first, samples, order, report))
    if order.int8 and (form := _int8(first, order, report)) is not None:
        forms.append(form)
    reference = samples.rows
    return publish(Contents(order, labels, first.roles, first.rewritten, first.truth, reference), forms, report)


def _understand(original: Original, samples: Samples, order: Order, report: Report) -> tuple[Understood, Samples]:
    """What the tensors are for, the graph rewritten, and held against what the original says."""
    asked = Asked(
        len(order.names), samples.row, order.input, order.shape, order.outputs, order.states, order.constants, order.channels_last
    )
    roles = roles_of(original, asked)
    if roles.is_turned and samples.row == roles.shapes[0][1:]:  # as the model was trained: time by time
        turned = samples.rows.reshape(-1, *samples.row).transpose(0, 2, 1).reshape(len(samples.rows), -1)
        samples = msgspec.structs.replace(samples, rows=np.ascontiguousarray(turned), row=samples.row[::-1])
    for state in roles.states:
        report("state", f"{state.input!r} takes what {state.output!r} gave the call before, {state.dtype} {list(state.shape)}")
    for name, values in roles.constants.items():
        report("constant", f"{name!r} is {values.tolist()}")
    rewritten = rewrite(original, roles)
    for note in rewritten.notes:
        report("graph", note)
    truth = ask(original, roles, samples, rewritten.classes)
    _compare(original, roles, rewritten, truth, order)
    batch = f", {roles.batch} rows a call," if roles.batch > 1 else ""
    report("golden", f"{len(truth.golden)} rows; the original file{batch} and the rewritten graph, one row a call, say the same")
    return Understood(original, roles, rewritten, truth), samples


def _compare(original: Original, roles: Roles, rewritten: Rewritten, truth: Truth, order: Order) -> None:
    """The rewritten graph must say what the original says.

    Raises:
        BundleError: it does not.
    """
    wanted = truth.scores[truth.golden]
    rows = [truth.sequences[0][: len(truth.golden)]] if roles.states else [truth.golden_rows]
    got = say_variant(rewritten.proto.SerializeToString(), rewritten, roles, rows, original.where)
    reason = f"; the batch of {roles.batch} means something to it, export it with a batch of 1" if roles.batch > 1 else ""
    if got.shape != wanted.shape:
        raise BundleError(
            f"{original.where}: one row a call gives {got.shape[1]} values, {wanted.shape[1]} are a row of the original's{reason}; "
            "or name a feature for each value of the whole input"
        )
    off = np.abs(got - wanted) - (order.atol + order.rtol * np.abs(wanted))
    if not (off <= 0).all():
        row, label = np.unravel_index(int(np.nan_to_num(off, nan=np.inf).argmax()), off.shape)
        raise BundleError(
            f"{original.where}: golden row {row}, score {label}: one row a call gives {got[row, label]:.6g}, the original file "
            f"{wanted[row, label]:.6g}{reason}; export it again, or widen --rtol and --atol if that is harmless"
        )


def _smaller(path: Path, name: str, first: Understood, samples: Samples, order: Order, report: Report) -> Form:
    original = Original(path)
    named = {tensor.name for tensor in (*original.inputs, *original.outputs)}
    asked = msgspec.structs.replace(
        order,
        model=path,
        input=order.input if order.input in named else "",
        shape=(),
        outputs=tuple(output for output in order.outputs if output in named),
        states={key: value for key, value in order.states.items() if {key, value} <= named},
        constants={key: value for key, value in order.constants.items() if key in named},
        channels_last=False,
    )
    other, _ = _understand(original, samples, asked, report)
    adapted = adapt(original, other.rewritten, other.roles, first.rewritten, first.roles)
    if adapted.notes[len(other.rewritten.notes) :]:
        report("graph", adapted.notes[-1])
    far = distance(first.truth.scores, other.truth.scores) if first.truth.scores.shape == other.truth.scores.shape else None
    if far is None:
        raise BundleError(f"{path}: --smaller: has {other.truth.scores.shape[1]} scores, the first model {first.truth.scores.shape[1]}")
    report(
        "smaller",
        f"{path.name}: agrees with the first model on {far.agreement:.1%} of {len(first.truth.scores)} samples, scores {_off(far)}",
    )
    return Form(name, adapted.proto.SerializeToString(), "float32", other.truth.scores[first.truth.golden])


def _int8(first: Understood, order: Order, report: Report) -> Form | None:
    """The quantised variant, or None with the reason said."""
    where = first.original.where
    try:
        model = quantise(first.rewritten, first.roles, first.truth.sequences, where)
    except BundleError as e:
        report("left out", str(e))
        return None
    scores = say_variant(model, first.rewritten, first.roles, first.truth.sequences, where).astype(np.float32)
    far = distance(first.truth.scores, scores)
    full = first.rewritten.proto.SerializeToString()
    full_ns, int8_ns = compare_speed([full, model], first.rewritten, first.roles, first.truth.rows, where)
    figures = (
        f"int8 agrees with float32 on {far.agreement:.1%} of {len(scores)} samples, scores {_off(far)}; "
        f"{int8_ns / 1e3:.0f} us instead of {full_ns / 1e3:.0f} us a call, {len(model)} bytes instead of {len(full)}"
    )
    if not np.isfinite(scores).all() or far.agreement < order.agreement:
        report("left out", f"{figures}: at least {order.agreement:.1%} is asked for (--int8-agreement)")
        return None
    if int8_ns >= full_ns:
        report("left out", f"{figures}: not faster here, and a variant is there for when time is short")
        return None
    report("int8", figures)
    return Form("int8", model, "int8", scores[first.truth.golden])


def _labels(first: Understood, order: Order) -> list[str]:
    """Names of the scores.

    Raises:
        BundleError: not as many as there are scores.
    """
    count = first.truth.scores.shape[1]
    if order.labels:
        if len(order.labels) != count or len(set(order.labels)) != count:
            raise BundleError(
                f"{first.original.where}: --labels names {len(order.labels)} ({_some(order.labels)}); the model gives {count} scores, "
                "each needs a name of its own"
            )
        return order.labels
    if len(found := class_names(first.original)) == count and len(set(found)) == count:
        return found
    if count == 1:
        return ["score"]
    return [f"class_{i}" for i in range(count)]


def _opsets(original: Original) -> str:
    versions = {entry.domain or "ai.onnx": entry.version for entry in original.proto.opset_import}
    return ", ".join(f"{domain} {version}" for domain, version in versions.items())


def _off(far: Any) -> str:
    return f"{far.mean:.3g} apart on average, {far.greatest:.3g} at most"


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
