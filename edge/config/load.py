"""A pipeline file to a RuntimeConfig that every room will accept, or to the list of everything that is wrong with it."""

import os
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from edge.config.bundle_features import with_bundle_features
from edge.config.check import find_problems
from edge.config.check_broker import own_credential
from edge.config.findings import Findings, in_file_order
from edge.config.scans import with_absolute_classifiers
from edge.config.typed import typed
from edge.config.types import RuntimeConfig
from edge.errors import ConfigError, Problem

MAX_FILE_BYTES = 4 << 20


def load(path: Path, *, with_model: bool = True, version: str = "") -> RuntimeConfig:
    """Read and check a pipeline file. Relative paths in it count from its folder and come back absolute.

    Args:
        path: of the file.
        with_model: whether the model's bundle must be there; False is for the script that is about to make it.
        version: of the model, instead of the file's.

    Raises:
        ConfigError: the file cannot be read, or anything in it is wrong; lists every problem.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise _refusal(path, f"is larger than {MAX_FILE_BYTES} bytes; a pipeline file is text of a few hundred lines")
        text = data.decode("utf-8-sig")
    except IsADirectoryError as fault:
        raise _refusal(path, "is a folder; name the pipeline file in it") from fault
    except FileNotFoundError as fault:
        raise _refusal(path, "there is no such file") from fault
    except UnicodeDecodeError as fault:
        raise _refusal(path, f"is not UTF-8 text: {fault.reason} at byte {fault.start}") from fault
    except (OSError, ValueError) as fault:
        raise _refusal(path, f"cannot be read: {getattr(fault, 'strerror', None) or fault}") from fault
    try:
        return loads(text, path.parent, str(path), with_model=with_model, version=version)
    except ConfigError as fault:
        raise ConfigError(fault.problems, str(path)) from fault.__cause__


def loads(text: str, base: Path, name: str = "pipeline file", *, with_model: bool = True, version: str = "") -> RuntimeConfig:
    """Check the text of a pipeline file.

    Args:
        text: TOML.
        base: folder that relative paths count from.
        name: of the file, for problems that belong to no key.
        with_model: whether the model's bundle must be there.
        version: of the model, instead of the file's.

    Raises:
        ConfigError: anything is wrong; lists every problem.
    """
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as fault:  # ValueError: TOMLDecodeError, and integers of too many digits
        raise ConfigError([Problem(name, f"is not TOML: {fault}")]) from fault
    found = Findings()
    config = _absolute(typed(tables, found), Path(os.path.abspath(base)))
    if version and config.model is not None:
        config = msgspec.structs.replace(config, model=msgspec.structs.replace(config.model, version=version))
    if with_model:
        config = with_bundle_features(config, found)
    find_problems(config, found, with_model=with_model)
    if found.problems:
        raise ConfigError(in_file_order(found.problems, tables))
    return config


def _refusal(path: Path, reason: str) -> ConfigError:
    return ConfigError([Problem(str(path), reason)])


def _absolute(config: RuntimeConfig, base: Path) -> RuntimeConfig:
    names = ("ca_file", "cert_file", "key_file", "password_file")
    broker = msgspec.structs.replace(config.broker, **_joined(config.broker, names, base))
    if broker.password_file is not None:
        broker = msgspec.structs.replace(broker, password_file=own_credential(broker.password_file))
    features = [msgspec.structs.replace(entry, **_joined(entry, ("module",), base)) for entry in config.features]
    model = config.model and msgspec.structs.replace(config.model, **_joined(config.model, ("bundle",), base))
    tables = {name: msgspec.structs.replace(table, **_joined(table, ("path",), base)) for name, table in config.tables.items()}
    outbox = msgspec.structs.replace(config.outbox, **_joined(config.outbox, ("path",), base))
    checkpoint = msgspec.structs.replace(config.checkpoint, **_joined(config.checkpoint, ("path",), base))
    config = msgspec.structs.replace(config, broker=broker, model=model, features=features, tables=tables)
    recording = msgspec.structs.replace(config.recording, **_joined(config.recording, ("path",), base))
    config = msgspec.structs.replace(config, outbox=outbox, checkpoint=checkpoint, recording=recording)
    folders = {name: stream.scan.classifier for name, stream in config.streams.items()}
    return with_absolute_classifiers(config, {name: os.path.normpath(base / folder) for name, folder in folders.items() if folder})


def _joined(table: msgspec.Struct, names: tuple[str, ...], base: Path) -> dict[str, Any]:
    # Links are kept: a deployment may switch versions by one.
    return {name: os.path.normpath(base / value) for name in names if (value := getattr(table, name))}
