"""`edge check`: everything that is wrong with a pipeline file and its model, or what the file amounts to."""

from pathlib import Path

import typer

from edge.config.models import Model
from edge.config.types import RuntimeConfig
from edge.errors import BundleError, ConfigError, Problem

_LISTED = 8


def check_file(file: Path, *, show: bool = False) -> int:
    """Check a pipeline file; prints one line per problem and their number, or one line that says what it is.

    The bundle's hashes are verified as well. What only running the model can tell is for `edge models check`.

    Args:
        file: the pipeline file.
        show: print the effective file as well, defaults included, without the password.

    Returns:
        0 if nothing is wrong, otherwise 1.
    """
    from edge.config.effective import to_toml
    from edge.config.load import load

    try:
        config = load(file)
        about = summary(config)
    except ConfigError as error:
        return _print(file, error.problems)
    except BundleError as error:
        return _print(file, [Problem("model.bundle", line) for line in str(error).splitlines()])
    lines = [f"OK {file}: {about}", *(f"note: {note}" for note in notes(config))]
    if show:
        # As TOML, the whole output is one valid file: the verdict is a comment.
        typer.echo("".join(f"# {line}\n" for line in lines) + f"\n{to_toml(config)}", nl=False)
    else:
        typer.echo("\n".join(lines))
    return 0


def notes(config: RuntimeConfig) -> list[str]:
    """What is not wrong, but may not be meant."""
    found = [
        f"streams.{name}.channels.{channel} is in C, which is coulomb; degC is degree Celsius"
        for name, stream in config.streams.items()
        for channel, unit in stream.channels.items()
        if unit == "C" and any(word in channel.lower() for word in ("temp", "therm", "cels"))
    ]
    names = list(dict.fromkeys(entry.stream for entry in config.features if entry.stream is not None))
    if len(names) > 1:
        every = f"features come from several streams ({', '.join(names)}): a device decides nothing until it has sent on all of them"
        found.append(f"{every}; devices of different kinds need a file each")
    return found


def summary(config: RuntimeConfig) -> str:
    """One line: streams, features, model, rules, actuators.

    Raises:
        BundleError: the bundle is altered or incomplete.
    """
    from edge.config.check_features import vector_of

    features = vector_of(config).names
    parts = [
        config.name,
        _count(len(config.streams), "stream", list(config.streams)),
        _count(len(features), "feature", features),
        _model(config.model),
        _count(len(config.rules), "rule", [rule.name for rule in config.rules]),
        _count(len(config.actuators), "actuator", list(config.actuators)),
    ]
    return ", ".join(parts)


def _model(model: Model | None) -> str:
    from edge.inference.bundle import load_bundle

    if model is None:
        return "no model"
    manifest = load_bundle(Path(model.bundle), model.version).manifest
    return f"model {manifest.name} {manifest.version} ({_some(list(manifest.labels))})"


def _count(number: int, what: str, names: list[str]) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}" + (f" ({_some(names)})" if names else "")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _print(file: Path, problems: list[Problem]) -> int:
    for problem in problems:
        typer.echo(str(problem).replace("\n", " "))
    typer.echo(f"{file}: {_count(len(problems), 'problem', [])}")
    return 1
