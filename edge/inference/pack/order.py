"""What the user wants packed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to pack, and how.

    Args:
        model: ONNX file.
        smaller: further ones with the same meaning, cheaper than the first.
        out, version: the bundle's folder, and the version in it.
        names, units: of the features, in order.
        recipe: `[[features]]` tables of a pipeline file that make them, or none.
        samples: file of sample data.
        labels: names of the scores; none: as the model calls its classes.
        input, shape, outputs, states, constants, channels_last: see roles.Asked.
        int8: add a quantised variant.
        agreement: share of samples on which it must say the same.
        budget_ms: None: as measured, times a margin.
        rtol, atol: tolerance of the golden outputs.
        description, source, licence: for people.
    """

    model: Path
    out: Path
    version: str
    names: list[str]
    units: list[str]
    samples: Path
    smaller: tuple[Path, ...] = ()
    recipe: list[dict[str, Any]] = []
    labels: list[str] = []
    input: str = ""
    shape: tuple[int, ...] = ()
    outputs: tuple[str, ...] = ()
    states: Mapping[str, str] = {}
    constants: Mapping[str, str] = {}
    channels_last: bool = False
    int8: bool = False
    agreement: float = 0.98
    budget_ms: float | None = None
    rtol: float = 1e-3
    atol: float = 1e-4
    description: str = ""
    source: str = "not said"
    licence: str = "not said"
