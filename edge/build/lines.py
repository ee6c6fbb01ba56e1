"""The serial lines of a config, with what its streams and actuators expect of the boards on them."""

from edge.config.check_serial import is_serial
from edge.config.types import RuntimeConfig
from edge.transport.fit import Wanted, WantedActuator, WantedStream
from edge.transport.serial import SerialLine


def lines_of(config: RuntimeConfig) -> dict[str, SerialLine]:
    """Lines by name."""
    streams = [
        WantedStream(name, one.topic, one.channels, one.rate_hz, one.kind == "scan")
        for name, one in config.streams.items()
        if is_serial(config, one.topic)
    ]
    actuators = [
        WantedActuator(name, one.topic, one.unit, one.min, one.max)
        for name, one in config.actuators.items()
        if is_serial(config, one.topic)
    ]
    wanted = Wanted(tuple(streams), tuple(actuators))
    return {name: SerialLine(line.url, line.key_file, wanted) for name, line in config.serial.items()}
