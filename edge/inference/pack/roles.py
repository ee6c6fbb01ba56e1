"""What each tensor of a graph is for: the feature vector, a state, a constant, scores, or nothing. Asks rather than guesses twice.

A size left open is closed here: the batch is one row, and every other one comes from the shape of the samples.
"""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import BundleError
from edge.inference.pack.original import SEQUENCE, Original, Tensor

_NUMBERS = "fiu"  # numpy's kinds that a score or a feature may have
_WHEN = {"in", "out", "input", "output", "new", "next", "prev", "previous", "past", "present", "old", "init", "initial", "last", "n", "t"}

Array = npt.NDArray[Any]


class State(msgspec.Struct, frozen=True):
    """A tensor that one call hands to the next: an input and the output that it is read from, of fixed shape."""

    input: str
    output: str
    dtype: str
    shape: tuple[int, ...]


class Asked(msgspec.Struct, frozen=True):
    """What the user said of the tensors.

    Args:
        features: how many there are.
        row: shape of one sample, without the number of samples.
        input: name of the input that takes the features, or "".
        shape: of that input for one row, or ().
        outputs: names of the outputs whose values are the scores; none: told from their types.
        states: input to output.
        constants: input to its text.
        channels_last: the graph takes (time, channels), and the vector comes channel by channel.
    """

    features: int
    row: tuple[int, ...]
    input: str = ""
    shape: tuple[int, ...] = ()
    outputs: tuple[str, ...] = ()
    states: Mapping[str, str] = {}
    constants: Mapping[str, str] = {}
    channels_last: bool = False


class Roles(msgspec.Struct, frozen=True):
    """What each tensor is for.

    Args:
        features: the inputs that take the vector, in order; more than one: each takes so many of its values.
        shapes: their shapes for one row.
        batch: rows of one call of the original; 1 unless it is fixed at more.
        states, constants: the other inputs.
        scores: names of the outputs whose values are the scores.
        dropped: outputs that are not needed.
        is_turned: the vector is (channels, time) where the graph takes (1, time, channels).
    """

    features: tuple[Tensor, ...]
    shapes: tuple[tuple[int, ...], ...]
    batch: int
    states: tuple[State, ...]
    constants: dict[str, Array]
    scores: tuple[str, ...]
    dropped: tuple[str, ...]
    is_turned: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many of the features each input takes."""
        return tuple(math.prod(shape) for shape in self.shapes)


def roles_of(original: Original, asked: Asked) -> Roles:
    """Decide what each tensor is for.

    Raises:
        BundleError: it cannot be told, with the option that says it.
    """
    _check_names(original, asked)
    constants = {name: _constant(original, name, text) for name, text in asked.constants.items()}
    others = [tensor for tensor in original.inputs if tensor.name not in constants]
    pairs = _pairs(original, others, asked)
    features = _features(original, [tensor for tensor in others if tensor.name not in pairs], asked)
    batch, shapes = _shapes(original, features, asked)
    symbols = {name: 1 for tensor in features for name in tensor.symbols[:1] if name}
    states = tuple(_state(original, tensor, pairs[tensor.name], symbols) for tensor in others if tensor.name in pairs)
    if states and batch > 1:
        raise BundleError(f"{original.where}: the batch is fixed at {batch}, and there are states; export it with a batch of 1")
    scores = _scores(original, asked, {state.output for state in states})
    kept = {*scores, *(state.output for state in states)}
    dropped = tuple(tensor.name for tensor in original.outputs if tensor.name not in kept)
    if asked.channels_last and (len(features) > 1 or len(shapes[0]) != 3):
        raise BundleError(f"{original.where}: --channels-last: input {features[0]} is not (batch, time, channels)")
    return Roles(tuple(features), shapes, batch, states, constants, scores, dropped, asked.channels_last)


def _check_names(original: Original, asked: Asked) -> None:
    inputs, outputs = [tensor.name for tensor in original.inputs], [tensor.name for tensor in original.outputs]
    for option, names, there in (
        ("--input", [asked.input] if asked.input else [], inputs),
        ("--state", list(asked.states), inputs),
        ("--constant", list(asked.constants), inputs),
        ("--state", list(asked.states.values()), outputs),
        ("--output", list(asked.outputs), outputs),
    ):
        kind = "input" if there is inputs else "output"
        for name in names:
            if name not in there:
                near = difflib.get_close_matches(name, there, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise BundleError(f"{original.where}: {option}: there is no {kind} {name!r}, only {', '.join(there)}{hint}")


def _constant(original: Original, name: str, text: str) -> Array:
    tensor = next(tensor for tensor in original.inputs if tensor.name == name)
    try:
        values = np.array([_number(part, tensor.dtype) for part in text.split(",")]).astype(tensor.dtype)
    except (ValueError, TypeError, OverflowError) as e:
        raise BundleError(f"{original.where}: --constant {name}={text}: {e}; {tensor.dtype} numbers, separated by commas, are right") from e
    fixed = [size if size is not None else 1 for size in tensor.shape]
    if tensor.shape and None in tensor.shape:
        known = math.prod(size for size in tensor.shape if size is not None)
        fixed[tensor.shape.index(None)] = max(values.size // max(known, 1), 1)
    if math.prod(fixed) != values.size:
        raise BundleError(f"{original.where}: --constant {name} has {values.size} values; the input is {tensor}")
    return values.reshape(fixed)


def _number(text: str, dtype: str) -> float | int | bool:
    text = text.strip()
    if dtype == "bool":
        if text.lower() not in ("0", "1", "true", "false"):
            raise ValueError(f"{text!r} is neither true nor false")
        return text.lower() in ("1", "true")
    if np.dtype(dtype).kind == "f":
        return float(text)
    number, limits = int(text), np.iinfo(dtype)
    if not limits.min <= number <= limits.max:
        raise ValueError(f"{text} does not fit")
    return number


def _pairs(original: Original, inputs: Sequence[Tensor], asked: Asked) -> dict[str, str]:
    """State inputs to their outputs: those that were named, and those of which there is no doubt."""
    pairs = dict(asked.states)
    if len(set(pairs.values())) != len(pairs):
        raise BundleError(f"{original.where}: --state names one output twice; every state has an output of its own")
    free = [tensor for tensor in inputs if tensor.name not in pairs and tensor.name != asked.input]
    if len(free) + bool(asked.input) < 2 or _columns_fit(free, asked):
        return pairs
    outputs = [output for output in original.outputs if output.name not in pairs.values() and output.name not in asked.outputs]
    found: dict[str, list[str]] = {}
    for tensor in free:
        alike = [output.name for output in outputs if _could_be(tensor, output) and _is_alike(tensor.name, output.name)]
        if alike:
            found[tensor.name] = alike
    for name, alike in found.items():
        claims = [other for other, names in found.items() if alike[0] in names]
        if len(alike) > 1 or len(claims) > 1:
            raise BundleError(
                f"{original.where}: input {name!r} could be the state of {' or '.join(alike)}; say which: --state {name}={alike[0]}"
            )
        pairs[name] = alike[0]
    return pairs


def _columns_fit(inputs: Sequence[Tensor], asked: Asked) -> bool:
    """One input a feature, as converters make of a data frame."""
    return len(inputs) == asked.features > 1 and all(len(tensor.shape) == 2 and tensor.shape[1] == 1 for tensor in inputs)


def _could_be(state: Tensor, output: Tensor) -> bool:
    same_rank = state.dtype == output.dtype and len(state.shape) == len(output.shape) > 0
    return same_rank and all(a == b or a is None or b is None for a, b in zip(state.shape, output.shape, strict=True))


def _is_alike(one: str, other: str) -> bool:
    """Whether two names mean the same state: ``h`` and ``hn``, ``state`` and ``stateN``, ``past_kv`` and ``new_kv``."""
    a, b = _stem(one), _stem(other)
    return bool(a and b) and (a == b or a.startswith(b) or b.startswith(a))


def _stem(name: str) -> str:
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    said = [re.sub(r"(?<=[a-z])(\d+|n|in|out|next|new)$", "", word) for word in words if word not in _WHEN]
    return "_".join(word for word in said if word not in _WHEN)


def _features(original: Original, inputs: Sequence[Tensor], asked: Asked) -> list[Tensor]:
    named = [tensor for tensor in inputs if tensor.name == asked.input]
    rest = [tensor for tensor in inputs if tensor.name != asked.input]
    if named and not rest:
        return named
    if not named and _columns_fit(rest, asked) and len({tensor.dtype for tensor in rest}) == 1:
        return rest
    if len(inputs) != 1:
        unknown = rest if named else inputs
        outputs = ", ".join(str(tensor) for tensor in original.outputs)
        raise BundleError(
            f"{original.where}: has no input for the features; every input is a state or a constant"
            if not inputs
            else f"{original.where}: inputs {'; '.join(str(tensor) for tensor in unknown)}: which of them are what? Say --state IN=OUT for "
            f"what one call hands to the next (outputs: {outputs}), --constant NAME=VALUE for what never changes, --input NAME for features"
        )
    return list(inputs)


def _shapes(original: Original, features: Sequence[Tensor], asked: Asked) -> tuple[int, tuple[tuple[int, ...], ...]]:
    """Rows of one call, and the shape of each input for one row."""
    for tensor in features:
        if not _is_number(tensor, _NUMBERS):
            raise BundleError(f"{original.where}: input {tensor.name!r} takes {tensor.dtype}; features are numbers, encode them before")
    if len(features) > 1:
        return 1, tuple((1, 1) for _ in features)
    (tensor,) = features
    if asked.shape:
        return _said(original, tensor, asked)
    dims = _closed(tensor, asked)
    if None in dims:
        raise BundleError(
            f"{original.where}: input {tensor} leaves sizes open that {asked.features} features do not tell; give samples of shape "
            f"(N, {', '.join('?' if s is None else str(s) for s in tensor.shape[1:])}) or say --shape"
        )
    shape = tuple(size for size in dims if size is not None)
    if math.prod(shape) == asked.features:
        return 1, (shape,)
    if len(dims) > 1 and math.prod(shape[1:]) == asked.features:
        return shape[0], ((1, *shape[1:]),)
    needed = math.prod(shape[1:]) if len(dims) > 1 else math.prod(shape)
    raise BundleError(
        f"{original.where}: input {tensor} takes {needed} values a row; {asked.features} features were named; name one per value"
    )


def _closed(tensor: Tensor, asked: Asked) -> list[int | None]:
    """Sizes of one row, as far as samples and the number of features tell them."""
    dims = list(tensor.shape)
    for skipped in (1, 0):  # samples are rows of the input, or whole inputs
        if len(dims) == len(asked.row) + skipped and len(dims) > 1:
            dims[skipped:] = [size if size is not None else asked.row[i] for i, size in enumerate(dims[skipped:])]
            break
    if len(dims) > 1 and dims[0] is None:
        dims[0] = 1
    if dims.count(None) == 1:
        known = math.prod(size for size in dims if size is not None)
        if asked.features % known == 0:
            dims[dims.index(None)] = asked.features // known
    return dims


def _said(original: Original, tensor: Tensor, asked: Asked) -> tuple[int, tuple[tuple[int, ...], ...]]:
    fits = len(asked.shape) == len(tensor.shape) and all(size in (None, said) for size, said in zip(tensor.shape, asked.shape, strict=True))
    if not fits or math.prod(asked.shape) != asked.features:
        raise BundleError(
            f"{original.where}: --shape {','.join(map(str, asked.shape))} does not agree with input {tensor} and {asked.features} features"
        )
    return 1, (asked.shape,)


def _state(original: Original, tensor: Tensor, output: str, symbols: Mapping[str, int]) -> State:
    if tensor.dtype == SEQUENCE or not tensor.shape:
        raise BundleError(f"{original.where}: --state {tensor.name}={output}: {tensor} cannot be carried; a tensor with sizes can")
    sizes = tuple(size if size is not None else symbols.get(tensor.symbols[i], 1) for i, size in enumerate(tensor.shape))
    return State(tensor.name, output, tensor.dtype, sizes)


def _scores(original: Original, asked: Asked, states: set[str]) -> tuple[str, ...]:
    """Outputs whose values are the scores: floats (and maps, which are made floats) if there are any, otherwise all numbers."""
    if asked.outputs:
        return asked.outputs
    free = [tensor for tensor in original.outputs if tensor.name not in states]
    floats = [tensor.name for tensor in free if tensor.dtype == SEQUENCE or _is_number(tensor, "f")]
    if not (found := floats or [tensor.name for tensor in free if _is_number(tensor, _NUMBERS)]):
        raise BundleError(f"{original.where}: no output gives numbers: {', '.join(map(str, original.outputs))}; export one that does")
    return tuple(found)


def _is_number(tensor: Tensor, kinds: str) -> bool:
    return tensor.dtype not in (SEQUENCE, "string") and np.dtype(tensor.dtype).kind in kinds
