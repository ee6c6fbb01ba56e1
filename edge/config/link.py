"""The broker table of a pipeline file as the settings of a link."""

import secrets
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from edge.config.check_broker import check_broker
from edge.config.findings import Findings
from edge.config.types import Broker, RuntimeConfig
from edge.errors import ConfigError, Problem
from edge.transport.dial import Address
from edge.transport.link import Settings


def with_broker(config: RuntimeConfig, url: str) -> RuntimeConfig:
    """The same config at another broker.

    Raises:
        ConfigError: the address is not one, or is plaintext to another machine.
    """
    broker = msgspec.structs.replace(config.broker, url=url)
    found = Findings()
    check_broker(broker, found)
    if found.problems:
        raise ConfigError(found.problems)
    return msgspec.structs.replace(config, broker=broker)


def link_settings(broker: Broker, name: str, max_packet: int) -> Settings:
    """The link that a config describes.

    Raises:
        ConfigError: the password file cannot be read.
    """
    url = urlsplit(broker.url)
    is_tls = url.scheme == "mqtts"
    password = broker.password
    if broker.password_file is not None:
        try:
            password = Path(broker.password_file).read_text(encoding="utf-8").splitlines()[0]
        except (OSError, UnicodeDecodeError, IndexError) as fault:
            raise ConfigError([Problem("broker.password_file", f"cannot be read: {fault}")]) from fault
    address = Address(
        url.hostname or "127.0.0.1",
        url.port or (8883 if is_tls else 1883),
        is_tls,
        broker.ca_file,
        broker.cert_file,
        broker.key_file,
        broker.connect_timeout_s,
    )
    return Settings(
        address,
        broker.client_id or f"edge-{name[:12]}-{_run_id()}",
        broker.username,
        password,
        broker.keepalive_s,
        broker.retry_min_s,
        broker.retry_max_s,
        f"edge/{name}/availability",
        max_packet,
    )


@cache
def _run_id() -> str:
    """Drawn once per process: a reload that changes nothing of the link must find the same settings."""
    return secrets.token_hex(4)
