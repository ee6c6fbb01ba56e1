"""The only room that knows every other: a RuntimeConfig in, a Pipeline or a Daemon out. Unpacks the config; rooms take plain values."""

import logging
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from edge.build.checkpoint import keep_state
from edge.build.health import health_terms
from edge.build.lines import lines_of
from edge.build.models import choose, life_of
from edge.build.monitoring import monitoring_of
from edge.build.outbox import Resumption, outbox_of
from edge.build.recorder import recorder_of
from edge.build.safe import safe_config
from edge.build.start import Start, start_again, start_with
from edge.clean.cleaner import Cleaner
from edge.clean.gate import Gate
from edge.config.check_serial import is_serial
from edge.config.cleaning import steps_of
from edge.config.link import link_settings, with_broker
from edge.config.load import load as load_config
from edge.config.outputs import actuator_limits, rule_specs
from edge.config.plan import feature_plan, longest_step_ns
from edge.config.tables import joined_tables, read_tables, spec_of
from edge.config.types import Publish, RuntimeConfig, Stream
from edge.daemon.notify import Notifier
from edge.daemon.plan import Plan
from edge.daemon.reactor import Daemon
from edge.daemon.realtime import Place
from edge.daemon.refused import Memory
from edge.daemon.tables import TableWatcher
from edge.errors import ConfigError, Problem
from edge.features.device_table import DeviceTable
from edge.features.plan import FeaturePlan, StreamShape
from edge.features.rolling import RollingFeatures
from edge.inference.admissions import Admissions
from edge.messages import Block, RawMessage
from edge.pipeline.batch import Batch
from edge.pipeline.decisions import Decisions
from edge.pipeline.engine import Engine, LargeBlocks
from edge.pipeline.intake import Intake, TelemetryIntake
from edge.pipeline.lanes import Lanes
from edge.pipeline.moment import Terms
from edge.pipeline.recipe import Pipeline
from edge.pipeline.tables import TableJoin
from edge.policy import Policy
from edge.safety import Envelope
from edge.topics import TopicTemplate
from edge.wire.json_fields import JsonCodec
from edge.wire.outgoing import Encoder
from edge.wire.outputs import Outputs
from edge.wire.telemetry import TelemetryCodec

_log = logging.getLogger(__name__)

PACKET_OVERHEAD = 1024  # topic and properties
_NS_PER_MS = 1_000_000
_NO_BUDGET_MS = 31_622_400_000.0  # a year
P = TypeVar("P", bound=Pipeline)
_STAMP_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


def load(path: str | Path, *, boot_id: str | None = None, clock: Callable[[], int] | None = None, wall_offset_ns: int = 0) -> Pipeline:
    """A pipeline file as an object to push frames into.

    Args:
        path: of the TOML file.
        boot_id: part of every alert and command; default random.
        clock: CLOCK_MONOTONIC in ns; None: processing takes no time, so that equal input gives equal output.
        wall_offset_ns: Unix time minus CLOCK_MONOTONIC.

    Raises:
        ConfigError: the file is wrong; lists every problem.
        BundleError: the model cannot be admitted.
    """
    config = load_config(Path(path))
    pipeline = pipeline_of(config, boot_id=boot_id)
    pipeline.run_on(clock, wall_offset_ns)
    pipeline.make_batch = lambda: batch_of(config)
    return pipeline


def run(path: str | Path, *, broker_url: str | None = None, tap: Callable[[RawMessage], None] | None = None, is_safe: bool = False) -> int:
    """Run a pipeline file as a daemon until SIGTERM or SIGINT.

    Args:
        path: of the TOML file.
        broker_url: instead of the file's.
        tap: called with every message before the pipeline sees it.
        is_safe: see edge.build.safe.

    Returns:
        The exit code.

    Raises:
        ConfigError: the file is wrong.
        BundleError: the model cannot be admitted.
    """
    return daemon(path, broker_url=broker_url, tap=tap, is_safe=is_safe).run()


def daemon(
    path: str | Path,
    *,
    broker_url: str | None = None,
    tap: Callable[[RawMessage], None] | None = None,
    notifier: Notifier | None = None,
    is_safe: bool = False,
) -> Daemon:
    """The daemon of a pipeline file, built and warm; see ``run``."""
    admissions, memory = Admissions(), Memory()

    configs: list[RuntimeConfig] = []

    def build(start: Start) -> Plan:
        config = start.config or load_config(Path(path), with_model=not is_safe)
        config = safe_config(config) if is_safe else config
        config = config if broker_url is None else with_broker(config, broker_url)
        configs.append(config)
        if config.outbox != configs[0].outbox:
            _log.warning("[outbox] has changed: restart the daemon for it to take effect")
        if config.checkpoint != configs[0].checkpoint:
            _log.warning("[checkpoint] has changed: restart the daemon for it to take effect")
        if config.recording != configs[0].recording:
            _log.warning("[recording] has changed: restart the daemon for it to take effect")
        try:
            return plan_of(config, admissions, start.unfit, memory)
        except ConfigError as fault:
            raise ConfigError(fault.problems, str(path)) from fault

    plan = build(Start()) if is_safe else start_with(Path(path), build, admissions)
    outbox = outbox_of(configs[0])
    resumption = Resumption(outbox)

    def resumed(plan: Plan) -> Plan:
        plan.is_safe = is_safe  # also after a reload
        plan.health = msgspec.structs.replace(plan.health, said=outbox.said)
        if not is_safe:
            resumption.attach(plan.pipeline)
        return plan

    resumed(plan)
    if not is_safe:
        plan.keeper = keep_state(configs[0], plan.pipeline)
    return Daemon(
        plan,
        lambda: resumed(build(Start() if is_safe else start_again(Path(path), memory))),
        outbox,
        notifier or Notifier.from_environment(),
        tap,
        None if is_safe else recorder_of(configs[0]),
    )


def plan_of(config: RuntimeConfig, admissions: Admissions | None = None, unfit: str = "", memory: Memory | None = None) -> Plan:
    """What the daemon needs for a config; the pipeline is warm. A model that was admitted before is neither proved nor timed again.

    Args:
        config: whole.
        admissions: what was admitted before.
        unfit: why no model may act, see edge.build.start.
        memory: of the process: what is held against versions of models.
    """
    pipeline = pipeline_of(config, admissions=admissions, unfit=unfit)
    warm_up(pipeline)
    status = config.publish.status
    subscriptions: list[tuple[str, int]] = [
        (TopicTemplate(s.topic).subscription, s.qos) for s in config.streams.values() if not is_serial(config, s.topic)
    ]
    if config.labels is not None:
        subscriptions.append((TopicTemplate(config.labels.topic).subscription, config.labels.qos))
    largest = max(stream.max_bytes for stream in config.streams.values())
    plan = Plan(
        pipeline,
        link_settings(config.broker, config.name, largest + PACKET_OVERHEAD),
        subscriptions,
        status.topic or f"edge/{config.name}/status",
        status.every_s,
        config.tick_ms,
        _watcher(config, pipeline),
    )
    plan.alert_topic = config.outbox.topic or f"edge/{config.name}/alerts"
    plan.health = health_terms(config)
    plan.models = life_of(config, pipeline, memory, unfit)
    plan.lines = lines_of(config)
    plan.place = Place(config.process.priority, tuple(config.process.cpu), config.process.lock_memory)
    return plan


def _watcher(config: RuntimeConfig, pipeline: Pipeline) -> TableWatcher | None:
    files = {name: (spec_of(table), table.refresh_s) for name, table in config.tables.items()}
    return None if pipeline.tables is None else TableWatcher(pipeline.tables, files)


def pipeline_of(config: RuntimeConfig, *, boot_id: str | None = None, admissions: Admissions | None = None, unfit: str = "") -> Pipeline:
    """A config as a pipeline.

    Raises:
        BundleError: the model cannot be admitted.
        ConfigError: a rule names a score that does not exist.
    """
    try:
        return _pipeline_of(config, boot_id or secrets.token_hex(4), Pipeline, RollingFeatures, admissions, unfit=unfit)
    except ValueError as fault:  # a room refuses its values although the file passed the check
        raise ConfigError([Problem(config.name, str(fault))]) from fault


def load_features(path: str | Path) -> Batch:
    """The features of a pipeline file, to be computed over stored data; its model is not looked at, and need not exist yet.

    Args:
        path: of the TOML file.

    Raises:
        ConfigError: the file is wrong; lists every problem.
    """
    return batch_of(load_config(Path(path), with_model=False))


def batch_of(config: RuntimeConfig) -> Batch:
    """The features of a config over stored data."""
    alone = features_only(config, lanes=1)
    streams = {name: stream for name, stream in config.streams.items() if stream.kind == "telemetry"}
    shapes = [StreamShape(name, stream.channels, stream.rate_hz, stream.max_rows) for name, stream in streams.items()]
    max_ahead_ns = {name: int(stream.max_ahead_ms * _NS_PER_MS) for name, stream in streams.items()}
    tables = read_tables(config)
    try:
        return Batch(
            config.name,
            feature_plan(config),
            lambda: _pipeline_of(alone, "batch", Engine, LargeBlocks, tables=tables),
            shapes,
            max_ahead_ns,
        )
    except ValueError as fault:
        raise ConfigError([Problem(config.name, str(fault))]) from fault


def features_only(config: RuntimeConfig, *, lanes: int | None = None) -> RuntimeConfig:
    """The same streams and features, without a model, outputs and budget: a vector that comes too late to act on is still one.

    Args:
        config: whole.
        lanes: instead of the config's.
    """
    return msgspec.structs.replace(
        config, model=None, rules=[], actuators={}, publish=Publish(), lanes=lanes or config.lanes, budget_ms=_NO_BUDGET_MS
    )


def _pipeline_of(
    config: RuntimeConfig,
    boot_id: str,
    kind: type[P],
    features: type[RollingFeatures],
    admissions: Admissions | None = None,
    tables: Mapping[str, DeviceTable] | None = None,
    unfit: str = "",
) -> P:
    plan = feature_plan(config)
    budget_ns = int(config.budget_ms * _NS_PER_MS)
    chosen = choose(config, plan, budget_ns, admissions or Admissions(), unfit)
    policy = Policy(
        rule_specs(config.rules, chosen.labels, plan.names),
        config.lanes,
        longest_step_ns(config),
    )
    lanes = Lanes(config.lanes)
    terms = Terms(
        budget_ns,
        next((policy for policy in config.on_overrun if policy != "smaller_model"), "skip") == "safe_state",
        "smaller_model" in config.on_overrun,
        boot_id,
    )
    envelope = Envelope(actuator_limits(config.actuators), config.lanes, boot_id)
    decisions = Decisions(chosen.model, policy, envelope, _outputs(config), lanes, terms)
    if chosen.trouble is not None:
        decisions.host.begin_off(chosen.labels, chosen.unfit, chosen.trouble)
    intakes = [_intake(name, stream, plan, config) for name, stream in config.streams.items()]
    pipeline = kind(config.name, intakes, features(plan, config.lanes), decisions, lanes, config.tick_ms * _NS_PER_MS)
    decisions.monitoring = monitoring_of(config, decisions.model)
    if config.tables:
        rows = read_tables(config) if tables is None else tables
        pipeline.tables = TableJoin(pipeline.features, lanes, joined_tables(config, rows))
    return pipeline


def warm_up(pipeline: Pipeline) -> None:
    """Touch everything that a first frame would touch for the first time, and leave no trace of it."""
    for intake in pipeline.intakes:
        if isinstance(intake, TelemetryIntake):
            intake.block.n = 0
            cleaner = intake.gate.cleaner
            pipeline.features.update(intake.index, 0, intake.block if cleaner is None else cleaner.warm_up())
        elif intake.work is not None:
            intake.work.warm_up()
    pipeline.times.fold()


def _intake(name: str, stream: Stream, plan: FeaturePlan, config: RuntimeConfig) -> Intake:
    topic = TopicTemplate(stream.topic, default_device=config.name)
    if stream.kind == "scan":
        from edge.build.scans import scan_intake  # the kernels of LIDARs, which other pipelines do without

        return scan_intake(name, stream, plan, config)
    clean = stream.clean
    channels = tuple(stream.channels)
    bounds = [clean.range.get(channel, (-np.inf, np.inf)) for channel in channels]
    low, high = (np.array([bound[side] for bound in bounds], np.float32) for side in (0, 1))
    is_synced = stream.clock == "synced"
    steps = steps_of(config, name)
    gate = Gate(
        low,
        high,
        config.lanes,
        lateness_ns=int(clean.lateness_ms * _NS_PER_MS),
        max_ahead_ns=int(stream.max_ahead_ms * _NS_PER_MS),
        max_age_ns=int((clean.max_age_ms or 0) * _NS_PER_MS),
        is_synced=is_synced,
        cleaner=Cleaner(steps, config.lanes) if steps is not None else None,
    )
    codec: JsonCodec | TelemetryCodec
    if stream.format == "json":
        allows_missing = clean.missing.policy != "reject"
        unit_ns = _STAMP_NS[stream.stamp_unit]
        codec = JsonCodec(channels, stream.fields, unit_ns, stream.max_rows, stream.max_bytes, allows_missing=allows_missing)
    else:
        codec = TelemetryCodec(len(channels), stream.max_rows, stream.max_bytes)
    block = Block(len(channels), stream.max_rows)
    return TelemetryIntake(name, topic, codec, gate, block, plan.stream_index[name], stream.rate_hz, is_synced)


def _outputs(config: RuntimeConfig) -> Outputs:
    encoder = Encoder(config.format, config.budget_ms)
    predictions = config.publish.predictions
    if predictions is None:
        return Outputs(encoder, encoder, None, 1, with_features=False, lanes=config.lanes)
    prediction_encoder = Encoder(predictions.format or config.format, config.budget_ms)
    topic = TopicTemplate(predictions.topic)
    return Outputs(encoder, prediction_encoder, topic, predictions.every, with_features=predictions.features, lanes=config.lanes)
