"""Every topic of a file beside every other: well formed, no two inputs alike, and nothing that is sent comes back in."""

import unicodedata
from itertools import combinations

from edge.config.findings import Findings, join
from edge.config.types import RuntimeConfig
from edge.topics import DEVICE, TopicTemplate

_MAX_BYTES = 65_535
Topics = list[tuple[str, str]]  # key path, template


def check_topics(config: RuntimeConfig, found: Findings) -> None:
    """Note what is wrong with the topics."""
    inputs: Topics = [(f"{join('streams', name)}.topic", stream.topic) for name, stream in config.streams.items()]
    alerts: Topics = [
        (f"rules[{i}].topic", rule.topic) for i, rule in enumerate(config.rules) if rule.emit == "alert" and rule.topic is not None
    ]
    commands: Topics = [(f"{join('actuators', name)}.topic", actuator.topic) for name, actuator in config.actuators.items()]
    predictions: Topics = []
    if config.publish.predictions is not None:
        predictions = [("publish.predictions.topic", config.publish.predictions.topic)]
    status: Topics = [("publish.status.topic", config.publish.status.topic or f"edge/{config.name}/status")]
    availability: Topics = [("name", f"edge/{config.name}/availability")]
    health: Topics = [("health.topic", config.health.topic or f"edge/{config.name}/health")]
    outbox: Topics = [("outbox.topic", config.outbox.topic or f"edge/{config.name}/alerts")]
    written = status if config.publish.status.topic is not None else []  # the default is only as good as the name
    written = written + outbox if config.outbox.topic is not None else written
    written = written + health if config.health.topic is not None else written
    for path, topic in inputs + alerts + commands + predictions + written:
        _check_form(path, topic, found)
    for (path, topic), (other, taken) in combinations(inputs, 2):
        if overlap(topic, taken):
            found.add(other, f"{taken!r} takes messages of {path} ({topic!r}) too; a message must belong to one stream", needs=[path])
    _check_device(inputs, alerts + commands + predictions, status + health + outbox, found)
    for path, topic in alerts + commands + predictions + status + health + outbox + availability:
        for other, source in inputs:
            if overlap(topic, source):
                found.add(path, f"{topic!r} is read by {other} ({source!r}): what is sent would come back in", needs=[other])
    _keep_apart(commands, alerts, found)
    _keep_apart(predictions, alerts + commands, found)
    _keep_apart(status, alerts + commands + predictions, found)
    _keep_apart(health, alerts + commands + predictions + status + outbox, found)
    _keep_apart(outbox, commands + predictions + status, found)
    _keep_apart(alerts + commands + predictions + status + health + outbox, availability, found)


def overlap(one: str, other: str) -> bool:
    """Whether some topic belongs to both templates."""
    levels, others = one.split("/"), other.split("/")
    return len(levels) == len(others) and all(a == b or DEVICE in (a, b) for a, b in zip(levels, others, strict=True))


def _check_form(path: str, topic: str, found: Findings) -> None:
    try:
        TopicTemplate(topic)
    except ValueError as fault:
        found.add(path, str(fault))
        return
    levels = topic.split("/")
    braces = [level for level in levels if level != DEVICE and ("{" in level or "}" in level)]
    if "" in levels[1:]:  # a leading slash is poor style but common on devices
        found.add(path, f"{topic!r} has an empty level", "/".join(filter(None, levels)))
    elif braces:
        hint = topic.replace(braces[0], DEVICE) if len(braces) == 1 and DEVICE not in levels else ""
        found.add(path, f"{topic!r}: of what is in braces, only {DEVICE} has a meaning", hint)
    elif any(unicodedata.category(c) == "Cc" for c in topic):
        found.add(path, f"{topic!r} has a control character, which brokers refuse")
    elif topic.startswith("$"):
        found.add(path, f"{topic!r}: topics that begin with '$' belong to the broker")
    elif len(topic.encode()) > _MAX_BYTES:
        found.add(path, f"is longer than MQTT's {_MAX_BYTES} bytes")


def _check_device(inputs: Topics, outputs: Topics, status: Topics, found: Findings) -> None:
    if not any(DEVICE in topic for _, topic in inputs):
        for path, topic in outputs:
            if DEVICE in topic:
                reason = f"{topic!r}: no stream's topic has {DEVICE}, so there is no device to put here"
                found.add(path, reason, needs=["streams"] if not inputs else [where for where, _ in inputs])
    for path, topic in status:
        if DEVICE in topic:
            found.add(path, f"{topic!r}: it is that of the whole process, so {DEVICE} has no meaning here")


def _keep_apart(mine: Topics, theirs: Topics, found: Findings) -> None:
    for path, topic in mine:
        for other, taken in theirs:
            if overlap(topic, taken):
                what = "where the daemon says whether it is there" if other == "name" else f"the topic of {other}"
                found.add(path, f"{topic!r} is {what} too; they must differ", needs=[other])
