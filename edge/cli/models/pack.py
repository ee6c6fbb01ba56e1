"""`edge models pack`: the command line as an order, and what came of it on the screen."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.errors import EdgeError

_LIST = "NAME,NAME"


def pack(  # noqa: PLR0913 - the options of a command
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="as the exporter wrote it", show_default=False)],
    samples: Annotated[
        Path,
        typer.Option(
            "--samples", metavar="FILE", help="sample data: npz, npy, csv, parquet; (N, F) or (sequences, N, F)", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="the bundle, such as models/fan", show_default=False)],
    version: Annotated[str, typer.Option("--version", metavar="X.Y.Z", help="a folder in it")] = "1.0.0",
    pipeline: Annotated[
        Path | None, typer.Option("--pipeline", metavar="FILE", help="pipeline file whose [[features]] the model was trained on")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features", metavar="FILE", help="names of the features: a line each in a text file, or [[features]] in a .toml file"
        ),
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar=_LIST, help="names of the scores, such as calm,shaken or class[0-999]")
    ] = None,
    states: Annotated[
        list[str] | None, typer.Option("--state", metavar="IN=OUT", help="what one call hands to the next; repeatable")
    ] = None,
    constants: Annotated[
        list[str] | None, typer.Option("--constant", metavar="NAME=VALUE", help="an input that never changes; repeatable")
    ] = None,
    input_name: Annotated[str, typer.Option("--input", metavar="NAME", help="the input for features, if there are several")] = "",
    shape: Annotated[str, typer.Option("--shape", metavar="1,3,48,192", help="of that input, if sizes are open and samples flat")] = "",
    outputs: Annotated[
        list[str] | None, typer.Option("--output", metavar="NAME", help="an output with scores; default: those of floats; repeatable")
    ] = None,
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="the input is (batch, time, channels), as Keras has it; features come by channel")
    ] = False,
    smaller: Annotated[
        list[Path] | None, typer.Option("--smaller", metavar="OTHER.onnx", help="a cheaper model, for when time is short; repeatable")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="add a quantised variant if it is as good and faster here")] = False,
    agreement: Annotated[
        float, typer.Option("--int8-agreement", metavar="SHARE", min=0, max=1, help="of the samples on which int8 must say the same")
    ] = 0.98,
    budget_ms: Annotated[
        float | None, typer.Option("--budget-ms", metavar="MS", min=0.001, max=60_000, help="default: measured here, with a margin")
    ] = None,
    rtol: Annotated[float, typer.Option("--rtol", min=0, max=1, help="relative tolerance of golden outputs")] = 1e-3,
    atol: Annotated[float, typer.Option("--atol", min=0, max=1, help="absolute tolerance of golden outputs")] = 1e-4,
    description: Annotated[str, typer.Option("--description", metavar="TEXT", help="what the scores mean")] = "",
    source: Annotated[str, typer.Option("--source", metavar="TEXT", help="of the training data")] = "not said",
    licence: Annotated[str, typer.Option("--licence", metavar="SPDX", help="of the training data")] = "not said",
) -> None:
    """Make a bundle of an ONNX file from scikit-learn, XGBoost, LightGBM, PyTorch or Keras, with its features and sample data."""
    options = {
        "model": model, "samples": samples, "out": out, "version": version, "input": input_name, "smaller": tuple(smaller or ()),
        "outputs": tuple(outputs or ()), "states": _pairs("--state", states or []), "constants": _pairs("--constant", constants or []),
        "channels_last": channels_last, "int8": int8, "agreement": agreement, "budget_ms": budget_ms, "rtol": rtol, "atol": atol,
        "description": description, "source": source, "licence": licence, "shape": _sizes(shape),
    }  # fmt: skip
    raise typer.Exit(pack_bundle(options, pipeline, features, labels))


def pack_bundle(options: dict[str, Any], pipeline: Path | None, features: Path | None, labels: str | None) -> int:
    """Run `edge models pack`; prints one line per step.

    Args:
        options: of edge.inference.pack.order.Order.
        pipeline, features: exactly one says what the vector is.
        labels: as written.

    Returns:
        0 if the bundle was written, otherwise 1.
    """
    from edge.inference.pack.names import read_features, read_labels
    from edge.inference.pack.order import Order
    from edge.inference.pack.pack import pack as make

    if (pipeline is None) == (features is None):
        raise typer.BadParameter("say what the vector is: give exactly one of --pipeline and --features", param_hint="--pipeline")
    try:
        if pipeline is not None:
            names, units, recipe = _of_pipeline(pipeline)
        else:
            names, units = read_features(features or Path())
            recipe = []
        order = Order(names=names, units=units, recipe=recipe, labels=read_labels(labels) if labels else [], **options)
        home = make(order, _print)
    except EdgeError as e:
        for line in str(e).splitlines():
            typer.echo(f"{'FAILED':<12} {line}")
        return 1
    typer.echo(f"{'next':<12} on the device: edge models check {home.parent} --version {home.name}")
    return 0


def _of_pipeline(path: Path) -> tuple[list[str], list[str], list[dict[str, Any]]]:
    """Names, units, and the tables that make them; none where they need code that a bundle does not carry."""
    from edge.config.load import load
    from edge.config.plan import feature_plan

    config = load(path, with_model=False)
    plan = feature_plan(config)
    recipe = tomllib.loads(path.read_text(encoding="utf-8")).get("features", [])
    if any("module" in entry or "table" in entry for entry in recipe):
        typer.echo(f"{'recipe':<12} not in the bundle: {path} takes features from a module or a table, which a bundle does not carry")
        recipe = []
    return list(plan.names), list(plan.units), recipe


def _pairs(option: str, texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, is_there, value = text.partition("=")
        if not (is_there and name.strip() and value.strip()) or name.strip() in found:
            raise typer.BadParameter(f"{text!r}: write NAME=VALUE, each name once", param_hint=option)
        found[name.strip()] = value.strip()
    return found


def _sizes(text: str) -> tuple[int, ...]:
    if text and not re.fullmatch(r"[1-9]\d{0,6}(,[1-9]\d{0,6}){0,7}", text):
        raise typer.BadParameter(f"{text!r}: write sizes such as 1,3,48,192", param_hint="--shape")
    return tuple(int(size) for size in text.split(",")) if text else ()


def _print(step: str, detail: str) -> None:
    typer.echo(f"{step:<12} {detail}")
