"""The start of a daemon whose model a registry chooses: no version, whatever is wrong with it, keeps the daemon from starting.

Counts starts, goes back from versions that crash or are refused, and says what to start without when none is fit. Builds nothing itself.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from edge.build.models import choose, follows_registry
from edge.config.load import load as load_config
from edge.config.plan import feature_plan
from edge.config.types import RuntimeConfig
from edge.daemon.orders import Said
from edge.daemon.plan import Plan
from edge.daemon.refused import WHO, Memory
from edge.errors import BundleError, ConfigError
from edge.inference.admissions import Admissions
from edge.inference.choice import preferred
from edge.store.registry import Registry
from edge.store.registry.changes import rollback_targets

_log = logging.getLogger(__name__)
_NS_PER_MS = 1_000_000
_LONGEST = 2000  # characters of a reason: every problem of a file could be one


class Start(msgspec.Struct, frozen=True):
    """How a daemon starts.

    Args:
        unfit: why no model may act, which is safe mode of models; "" where one may.
        config: instead of the file as it is read with the active version.
        said: to be told as alerts.
    """

    unfit: str = ""
    config: RuntimeConfig | None = None
    said: tuple[Said, ...] = ()


def start_with(path: Path, build: Callable[[Start], Plan], admissions: Admissions) -> Plan:
    """The plan of a daemon, with the active version, an earlier good one, or none.

    Args:
        path: of the pipeline file.
        build: makes the plan.
        admissions: that ``build`` uses too.

    Raises:
        ConfigError: the file is wrong.
        BundleError: the model is refused, and no registry chooses it.
    """
    start = note_start(path, load_config(path, with_model=False))
    try:
        plan = build(start)
    except (BundleError, ConfigError):
        config = load_config(path, with_model=False)  # raises where the file itself is wrong
        registry = registry_of(config)
        if registry is None or start.unfit or not registry.versions():
            raise
        start = _recover(path, config, registry, start, admissions)
        plan = build(start)
    if plan.models is not None:
        for said in start.said:
            plan.models.say(said)
    return plan


def start_again(path: Path, memory: Memory) -> Start:
    """How to read the file again while the daemon runs: what was refused stays refused.

    Args:
        path: of the pipeline file.
        memory: of the process.

    Raises:
        ConfigError: the file is wrong.
        BundleError: what is at work had better stay so: the registry cannot be read, or its active version was refused.
    """
    config = load_config(path, with_model=False)
    registry = registry_of(config)
    if registry is None:
        return Start()
    state, refused = registry.state(), memory.of(registry.folder)
    if state.trouble and refused.at_work:
        raise BundleError(f"{state.trouble}; {refused.at_work} stays at work until the registry can be read")
    if not state.trouble:
        refused.catch_up(registry.folder, state)
    reason = refused.safe_mode or refused.reason(state.active)
    if not reason:
        return Start()
    if refused.at_work and not refused.safe_mode:
        raise BundleError(f"model {state.active} {reason}; {refused.at_work} stays at work: activate it, or another version")
    return Start(reason, _without_model(path, config, registry))


def note_start(path: Path, config: RuntimeConfig) -> Start:
    """Count a start; after too many that did not settle, go back to the version that ran well last.

    Args:
        path: of the pipeline file.
        config: whole, or without a look at its model.
    """
    registry = registry_of(config)
    if config.model is None or registry is None:
        return Start()
    try:
        state = registry.note_start()
    except BundleError as fault:
        _log.error("%s: starts are not counted, so a model that crashes is not found out", fault)
        return Start()
    starts = config.model.rollback.starts
    if state.unsettled_starts <= starts:
        return Start()
    reason = f"did not let {starts} starts settle, one after the other"
    try:
        version = registry.rollback(WHO, reason, expect=state.active)
    except BundleError as fault:
        _log.critical("model %s %s, and there is no other one to go back to: safe mode: %s", state.active, reason, fault)
        return Start(reason, _without_model(path, config, registry))
    return Start(said=(_went_back(state.active, reason, version),))


def registry_of(config: RuntimeConfig) -> Registry | None:
    """The registry that says which version runs; None where the file does, or where there is no model."""
    return Registry(Path(config.model.bundle)) if config.model is not None and follows_registry(config) else None


def _recover(path: Path, config: RuntimeConfig, registry: Registry, start: Start, admissions: Admissions) -> Start:
    """What to start with when the active version was refused. The registry is changed only where another version is fit."""
    state = registry.state()
    why = _refusal(path, state.active, admissions)
    if not why:  # a second look admitted it, or it was never the reason
        return start
    refused = {state.active: f"was refused at the start: {why}"}
    for version in rollback_targets(state, registry.versions()):
        if other := _refusal(path, version, admissions):
            refused[version] = f"was refused too: {other}"
            continue
        try:
            return Start(said=(*start.said, *_go_back(registry, version, refused)))
        except BundleError as fault:
            refused[version] = f"cannot be gone back to: {fault}"
            break
    reason = "; ".join([refused.pop(state.active), *(f"{version} {why}" for version, why in refused.items())])[:_LONGEST]
    _log.critical("model %s %s: safe mode", state.active, reason)
    _settle(registry)
    return Start(reason, _without_model(path, config, registry), start.said)


def _go_back(registry: Registry, version: str, refused: Mapping[str, str]) -> list[Said]:
    """Go back step by step, so that every version that was refused counts as rejected."""
    said = []
    while (bad := registry.state().active) != version:
        reason = refused.get(bad, "was not asked for")
        to = registry.rollback(WHO, reason, expect=bad)
        said.append(_went_back(bad, reason, to))
    return said


def _refusal(path: Path, version: str, admissions: Admissions) -> str:
    """Why a version cannot act; "" where it can."""
    try:
        config = load_config(path, version=version)
        choose(config, feature_plan(config), int(config.budget_ms * _NS_PER_MS), admissions)
    except (BundleError, ConfigError) as fault:
        return "; ".join(str(fault).splitlines())[:_LONGEST]
    return ""


def _without_model(path: Path, config: RuntimeConfig, registry: Registry) -> RuntimeConfig:
    """The file as it is with the first version that it can be read with: its recipe may say which features there are."""
    for version in preferred(registry.state(), registry.versions()):
        try:
            return msgspec.structs.replace(load_config(path, version=version), model=config.model)
        except ConfigError:
            continue
    return config


def _settle(registry: Registry) -> None:
    """Nothing crashed: the starts that are counted for a crashing model must not grow by a refused one."""
    try:
        registry.note_settled("")
    except BundleError as fault:
        _log.warning("%s: the start stays counted as one that did not settle", fault)


def _went_back(bad: str, reason: str, to: str) -> Said:
    return Said("model.rolled_back", f"model {bad} {reason}: rolled back to {to}", bad, is_bad=True)
