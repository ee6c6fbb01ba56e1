"""`edge status`: what daemons say of themselves, as a table. Reads availability, health, status of a broker, or a file; sends nothing."""

import json
import secrets
import selectors
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import typer

from edge.cli.status_file import RUN_DIR, closed_to_us, told_in_file
from edge.config.check_broker import check_broker
from edge.config.findings import Findings
from edge.config.types import Broker, RuntimeConfig
from edge.errors import TransportError
from edge.messages import RawMessage
from edge.transport.link import Handlers, Settings
from edge.transport.mqtt import MqttTransport

MAX_PACKET = 4_000_000
NOBODY = "edge: nothing is known of any daemon at this broker\n"
_POLL_S = 0.05
_QUIET_S = 0.3  # after the last retained message all of them are there
_KINDS = ("availability", "health", "status")
Said = dict[str, dict[str, Any]]  # daemon to kind to what it said


class Listener:
    """Hears what daemons say on one broker.

    Args:
        settings: of the link.
        topics: topic to name of the daemon, or None where the topic's second level names it, and kind.

    Attributes:
        said: by daemon.
    """

    def __init__(self, settings: Settings, topics: dict[str, tuple[str | None, str]]) -> None:
        self.said: Said = {}
        self._topics = topics
        self._heard_s = 0.0
        self._selector = selectors.DefaultSelector()
        handlers = Handlers(on_message=self._take)
        self.transport = MqttTransport(settings, [(topic, 1) for topic in topics], handlers, self._selector, lambda: None)

    def run(self, seconds: float) -> None:
        """Listen until everything was said that can be expected, at most so long.

        Args:
            seconds: longest time.
        """
        now = time.monotonic()
        end = now + seconds
        while now < end and not self._is_done(now):
            self.transport.poll(time.monotonic_ns())
            for key, mask in self._selector.select(_POLL_S):
                key.data(mask)
            self.transport.flush()
            now = time.monotonic()

    def close(self) -> None:
        """Leave the broker."""
        self.transport.close()
        self._selector.close()

    def _is_done(self, now: float) -> bool:
        if not self.said or now - self._heard_s < _QUIET_S:
            return False
        return all("availability" in one and (one["availability"] != "online" or len(one) == len(_KINDS)) for one in self.said.values())

    def _take(self, raw: RawMessage) -> None:
        name, kind = self._topics.get(raw.topic, (None, raw.topic.rpartition("/")[2]))
        if name is None:
            name = raw.topic.split("/")[1] if raw.topic.count("/") == 2 else ""
        if not raw.payload or not name:
            return
        said: Any = raw.payload.decode(errors="replace")
        if kind != "availability":
            try:
                said = msgspec.json.decode(raw.payload)
            except (msgspec.DecodeError, RecursionError):
                return
            if not isinstance(said, dict):
                return
        self.said.setdefault(name, {})[kind] = said
        self._heard_s = time.monotonic()


def show_status(
    file: Path | None,
    url: str | None,
    name: str | None,
    *,
    insecure: bool,
    seconds: float,
    as_json: bool,
    run_dir: Path = RUN_DIR,
) -> int:
    """Print what daemons say of themselves.

    Args:
        file: pipeline file whose daemon is meant, and whose broker is asked.
        url: broker instead of the file's.
        name: of the daemon; None: the file's, or all.
        insecure: allow plaintext to a ``url`` that is another machine.
        seconds: longest wait.
        as_json: one JSON object instead of a table.
        run_dir: where daemons of this machine leave word, for when the broker has none.

    Returns:
        0 when every daemon is online and well, 1 otherwise; also 1 when the broker, and this machine, know of none.

    Raises:
        ConfigError: the file is wrong.
        TransportError: the broker cannot be reached, and there is no word of the daemon on this machine.
        typer.BadParameter: a URL that is none.
    """
    config = _load(file)
    name = name or (config.name if config is not None else None)
    listener = Listener(_settings(config, url, insecure=insecure), _topics(config, name))
    try:
        listener.run(seconds)
        fault = "" if listener.transport.connects else listener.transport.state
    finally:
        listener.close()
    said = {one: listener.said[one] for one in sorted(listener.said)}
    if name is not None and said.get(name, {}).get("availability") != "online":
        _ask_here(said, name, run_dir, fault)
    looked = f"{run_dir}/*/health.json, where services leave word (another place: --run-dir)"
    if fault and not said:
        raise TransportError(f"{fault}; nothing of {name} in {looked} either" if name is not None else fault)
    if as_json:
        typer.echo(json.dumps(said, indent=2))
    elif said:
        typer.echo("\n\n".join("\n".join(table(one, found, time.time_ns())) for one, found in said.items()))
    if not said:
        sys.stderr.write(f"edge: nothing is known of {name} at this broker, nor in {looked}\n" if name else NOBODY)
    return 0 if said and all(is_well(found) for found in said.values()) else 1


def _ask_here(said: Said, name: str, run_dir: Path, fault: str) -> None:
    """Put what the daemon says in a file in the place of what the broker does not know: anything without a broker, else only news."""
    told = told_in_file(run_dir, name)
    if told is None and (closed := closed_to_us(run_dir)):
        sys.stderr.write(f"edge: this user may not read {', '.join(map(str, closed))}, where {name} may tell of itself; sudo may\n")
    if told is None or (said.get(name) and told["availability"] != "online"):
        return
    said[name] = told
    why = f"the broker cannot be reached: {fault}" if fault else "the broker does not hear of it"
    sys.stderr.write(f"edge: {why}; what follows was {told['file']['text']}\n")


def is_well(found: dict[str, Any]) -> bool:
    """Whether a daemon is there and says that all is well."""
    return found.get("availability") == "online" and found.get("health", {}).get("state") == "ok"


def table(name: str, found: dict[str, Any], now_ns: int) -> list[str]:
    """What one daemon says, as lines.

    Args:
        name: of the daemon.
        found: what it said, by kind.
        now_ns: Unix time.
    """
    health, status = found.get("health", {}), found.get("status", {})
    is_there = found.get("availability") == "online"
    state = health.get("state", "unknown") if is_there else found.get("availability", "unknown")
    notes = [found["file"]["text"]] if "file" in found else []
    notes += ["what follows is what it said last"] if health and not is_there else []
    rows = [("daemon", name, state, None, "; ".join(notes))]
    rows += [(part, "", entry.get("state", ""), entry.get("since_ns"), _words(part, entry)) for part, entry in _parts(health)]
    for line, entry in health.get("serial", {}).items():
        rows.append(("serial", line, entry.get("state", ""), entry.get("since_ns"), entry.get("text", "")))
    for stream, entry in health.get("streams", {}).items():
        rows.append(("stream", stream, entry.get("state", ""), entry.get("since_ns"), _heard(entry, status.get("streams", {}).get(stream))))
    for device, at_ns in health.get("devices", {}).get("names", {}).items():
        rows.append(("device", device, "silent", at_ns, ""))
    for helper, entry in health.get("helpers", {}).items():
        rows.append(("helper", helper, entry.get("state", ""), entry.get("since_ns"), entry.get("why", "")))
    cells = [(f"{kind} {what}".rstrip(), text, _ago(since, now_ns), words) for kind, what, text, since, words in rows]
    wide = [max(len(row[column]) for row in cells) for column in range(3)]
    lines = ["  ".join([row[0].ljust(wide[0]), row[1].ljust(wide[1]), row[2].rjust(wide[2]), row[3]]).rstrip() for row in cells]
    return lines + (_totals(status) if status else _held(health))


def _parts(health: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    shown = [("mode", "safe"), ("link", ""), ("clock", ""), ("flood", "flood")]  # those that are no news unless they are so
    return [(part, entry) for part, only in shown if (entry := health.get(part)) and only in ("", entry.get("state"))]


def _words(part: str, entry: dict[str, Any]) -> str:
    return f"{entry.get('text', '')}, came up {entry.get('connects', 0)} times" if part == "link" else str(entry.get("why", ""))


def _heard(entry: dict[str, Any], counts: dict[str, Any] | None) -> str:
    """What came of a stream; a file has no counts."""
    if not entry.get("heard"):
        return "nothing came yet"
    return f"{counts.get('used', 0)} of {counts.get('received', 0)} used" if counts is not None else ""


def _held(health: dict[str, Any]) -> list[str]:
    return [f"{health['alerts_held']} alerts wait"] if "alerts_held" in health else []


def _totals(status: dict[str, Any]) -> list[str]:
    decisions, alerts, budget = (status.get(part, {}) for part in ("decisions", "alerts", "budget"))
    line = (
        f"{decisions.get('made', 0)} decisions, {budget.get('missed', 0)} over budget; {alerts.get('raised', 0)} alerts raised, "
        f"{alerts.get('waiting', 0)} wait; up {_span(status.get('uptime_s', 0))}, {status.get('rss_mb', 0):g} MB"
    )
    recording = status.get("recording")
    return [line] if recording is None else [line, f"{recording['recorded']} messages recorded, {recording['dropped']} dropped"]


def _ago(since_ns: Any, now_ns: int) -> str:
    return f"for {_span((now_ns - since_ns) / 1e9)}" if isinstance(since_ns, int) else ""


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _topics(config: RuntimeConfig | None, name: str | None) -> dict[str, tuple[str | None, str]]:
    topics: dict[str, tuple[str | None, str]] = {f"edge/{name or '+'}/{kind}": (name, kind) for kind in _KINDS}
    if config is not None:
        for kind, topic in (("health", config.health.topic), ("status", config.publish.status.topic)):
            if topic is not None:
                del topics[f"edge/{name}/{kind}"]
                topics[topic] = (name, kind)
    return topics


def _load(file: Path | None) -> RuntimeConfig | None:
    if file is None:
        return None
    from edge.config.load import load

    return load(file, with_model=False)


def _settings(config: RuntimeConfig | None, url: str | None, *, insecure: bool) -> Settings:
    from edge.config.link import link_settings

    broker = config.broker if config is not None else Broker()
    if url is not None:
        broker = msgspec.structs.replace(broker, url=url, insecure=insecure or broker.insecure)
        found = Findings()
        check_broker(broker, found)
        if found.problems:
            raise typer.BadParameter(f"{url!r}: {found.problems[0].reason}")
    settings = link_settings(broker, "status", MAX_PACKET)
    return msgspec.structs.replace(settings, client_id=f"edge-status-{secrets.token_hex(4)}", availability_topic="", wants_retained=True)
