"""Topic templates of pipeline files: ``plant/{device}/vibration``."""

import re

DEVICE = "{device}"


class TopicTemplate:
    """A topic in which ``{device}`` stands for one level.

    Args:
        text: the template.
        default_device: name of the device when the template does not say.

    Attributes:
        subscription: the MQTT topic filter.

    Raises:
        ValueError: empty, a wildcard, NUL, or ``{device}`` that is not a level of its own or stands twice.
    """

    def __init__(self, text: str, default_device: str = "") -> None:
        levels = text.split("/")
        if not text or any(character in text for character in "+#\0"):
            raise ValueError(f"{text!r} is not a topic; write levels separated by '/', without '+', '#' or NUL")
        if text.count(DEVICE) > 1 or (DEVICE in text and DEVICE not in levels):
            raise ValueError(f"{text!r}: {DEVICE} must be one whole level, once")
        self.text = text
        self.subscription = text.replace(DEVICE, "+")
        self._default_device = default_device
        self._pattern = re.compile("([^/]+)".join(re.escape(part) for part in text.split(DEVICE)))

    def match(self, topic: str) -> str | None:
        """The device that a topic belongs to, or None when the topic is another one."""
        found = self._pattern.fullmatch(topic)
        if found is None:
            return None
        return found[1] if found.lastindex else self._default_device

    def format(self, device: str) -> str:
        """The topic of a device."""
        return self.text.replace(DEVICE, device)
