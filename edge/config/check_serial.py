"""The serial lines of a config: addresses, keys, and topics that belong to them."""

from pathlib import Path

from edge.config.findings import Findings
from edge.config.types import RuntimeConfig
from firmware_bridge.address import parse
from firmware_bridge.auth import read_key
from firmware_bridge.errors import LinkError
from firmware_bridge.topics import base_of


def check_serial(config: RuntimeConfig, found: Findings) -> None:
    """Note what is wrong with ``[serial.NAME]``, and with topics of a line that is not there."""
    lines: dict[str, str] = {}
    for name, line in config.serial.items():
        path = f"serial.{name}"
        try:
            base_of("serial", name)
            device = parse(line.url).path
        except LinkError as fault:
            found.add(f"{path}.url", str(fault))
            continue
        if device in lines:
            found.add(f"{path}.url", f"{device} is the line of serial.{lines[device]} already")
        lines[device] = name
        if line.key_file is not None:
            try:
                read_key(Path(line.key_file))
            except LinkError as fault:
                found.add(f"{path}.key_file", str(fault))
    for key, topic in _topics(config):
        levels = topic.split("/")
        if config.serial and levels[0] == "serial" and (len(levels) != 3 or (levels[1] != "{device}" and levels[1] not in config.serial)):
            known = ", ".join(config.serial)
            found.add(key, f"{topic!r} names no line; write serial/NAME/STREAM, where NAME is {{device}} or one of {known}")


def is_serial(config: RuntimeConfig, topic: str) -> bool:
    """Whether a topic belongs to a serial line, and so never to the broker."""
    return bool(config.serial) and topic.startswith("serial/")


def _topics(config: RuntimeConfig) -> list[tuple[str, str]]:
    streams = [(f"streams.{name}.topic", stream.topic) for name, stream in config.streams.items()]
    return streams + [(f"actuators.{name}.topic", actuator.topic) for name, actuator in config.actuators.items()]
