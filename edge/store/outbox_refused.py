"""Alerts that the broker refused, and the later ones of their topics: held back, and offered again later and later.

Of one topic nothing overtakes what was refused: whoever hears "cleared" before "raised" ends in the wrong state. Other topics go on.
"""

from collections import deque
from collections.abc import Sequence

from edge.store.outbox_file import Entry

AGAIN_NS = 1_000_000_000  # what the broker refused is offered again after this, then after twice this, ...
AGAIN_MAX_NS = 60_000_000_000
NEVER_NS = 1 << 62
REASONS = 1000  # of so many topics it is kept why


class Refused:
    """What is held back.

    Args:
        levels: of severity.

    Attributes:
        queues: by severity, the least severe first; not in order.
        reasons: topics on which the broker refused an alert and has taken none since, and why.
    """

    def __init__(self, levels: int) -> None:
        self.queues: tuple[deque[Entry], ...] = tuple(deque() for _ in range(levels))
        self.reasons: dict[str, str] = {}
        self._numbers: dict[str, set[int]] = {}  # topic to those held anywhere that the broker refused
        self._again_ns, self._pause_ns = NEVER_NS, AGAIN_NS

    def __len__(self) -> int:
        """Alerts held, here or on their way again, that the broker refused."""
        return sum(map(len, self._numbers.values()))

    def add(self, entry: Entry, now_ns: int, why: str) -> None:
        """The broker refused an alert.

        Args:
            entry: the alert.
            now_ns: CLOCK_BOOTTIME.
            why: in the broker's words.
        """
        if len(self.reasons) >= REASONS:
            self.reasons.pop(next(iter(self.reasons)))
        self.reasons[entry.message.topic] = why
        self._numbers.setdefault(entry.message.topic, set()).add(entry.number)
        self.hold(entry)
        if self._again_ns == NEVER_NS:
            self._again_ns = now_ns + self._pause_ns
            self._pause_ns = min(self._pause_ns * 2, AGAIN_MAX_NS)

    def bars(self, entry: Entry) -> bool:
        """Whether an earlier alert of its topic was refused, and still has to go first."""
        numbers = self._numbers.get(entry.message.topic)
        return numbers is not None and min(numbers) < entry.number

    def hold(self, entry: Entry) -> None:
        """Hold an alert back."""
        self.queues[entry.level].append(entry)

    def forget(self, entry: Entry) -> bool:
        """An alert was delivered or given up; whether that lets others go, which ``give_back`` does at once and ``is_due`` says."""
        topic = entry.message.topic
        numbers = self._numbers.get(topic)
        if numbers is None or entry.number not in numbers:
            return False
        numbers.discard(entry.number)
        if not numbers:
            del self._numbers[topic]
        if not self._numbers:
            self._pause_ns = AGAIN_NS
        self._again_ns = 0
        return True

    def is_due(self, now_ns: int) -> bool:
        """Whether it is time to offer them again."""
        return now_ns >= self._again_ns

    def new_link(self) -> None:
        """Another broker, or the same with other rights: all of it is worth a try, and soon."""
        self._pause_ns = AGAIN_NS

    def give_back(self, waiting: Sequence[deque[Entry]]) -> None:
        """Put all of them back among those that wait, each queue in order of acceptance."""
        self._again_ns = NEVER_NS
        for held, queue in zip(self.queues, waiting, strict=True):
            entries = sorted([*held, *queue], key=lambda entry: entry.number)
            held.clear()
            queue.clear()
            queue.extend(entries)
