"""Safe mode: what is left of a pipeline file when it has failed too often."""

import msgspec

from edge.config.types import Publish, RuntimeConfig


def safe_config(config: RuntimeConfig) -> RuntimeConfig:
    """The same link, status and outbox, without anything that could fail again: no feature, model, rule, table or output.

    Streams stay, so that what arrives is checked and counted. No command is sent: devices go to their own safe values.

    Args:
        config: whole.
    """
    streams = {
        name: msgspec.structs.replace(stream, clean=type(stream.clean)())
        for name, stream in config.streams.items()
        if stream.kind == "telemetry"
    }
    return msgspec.structs.replace(
        config,
        streams=streams or config.streams,
        features=[],
        model=None,
        rules=[],
        actuators={},
        tables={},
        publish=Publish(status=config.publish.status),
    )
