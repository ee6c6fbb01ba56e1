"""The recording that the demo plays: three wearers whom the shipped model has never seen, as their watches would have sent it.

Samples are the data set's, rounded to float32 and otherwise untouched; each wearer's seven exercises follow one another without a break.
Time begins at 0, because the data set does not say when it was recorded.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from edge.messages import RawMessage
from edge.store.recording import RecordingWriter

PERIOD_NS = 20_000_000  # 50 Hz
ROWS = 5  # samples a message
LABEL_EVERY = 10  # messages between two messages that say what the wearer is doing
APART_NS = 3_700_000  # watches do not send at the same instant

Exercises = list[tuple[str, npt.NDArray[np.float32]]]  # name and rows (n, 6), in order


def joined(exercises: Exercises) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], list[str]]:
    """One wearer's stamps, rows and, for each row, the name of the exercise."""
    rows = np.concatenate([rows for _, rows in exercises])
    labels = [name for name, rows in exercises for _ in range(len(rows))]
    return np.arange(len(rows), dtype=np.int64) * PERIOD_NS, rows, labels


def even(wearers: Mapping[str, Exercises]) -> dict[str, Exercises]:
    """Cut the end of the last exercise, so that all wearers last equally long and whole messages come out."""
    shortest = min(sum(len(rows) for _, rows in exercises) for exercises in wearers.values()) // ROWS * ROWS
    cut = {}
    for device, exercises in wearers.items():
        *rest, (name, rows) = exercises
        cut[device] = [*rest, (name, rows[: shortest - sum(len(rows) for _, rows in rest)])]
    return cut


def write(path: Path, wearers: Mapping[str, Exercises], about: dict[str, str]) -> None:
    """Write the recording; the same arguments give the same messages.

    Args:
        path: of the MCAP file; replaced if it is there.
        wearers: device name to exercises, all equally long.
        about: for the file's metadata.
    """
    streams = [_messages(i, device, exercises) for i, (device, exercises) in enumerate(wearers.items())]
    messages = sorted((raw for stream in streams for raw in stream), key=lambda raw: raw.received_ns)
    facts = {"boot_id": "", "started_ns": "0", "monotonic_offset_ns": "0", "truth_topic": "watch/{device}/label"}
    with RecordingWriter(path, facts | about, overwrite=True, flush_s=3600, clock=lambda: messages[-1].received_ns) as writer:
        for raw in messages:
            writer.write(raw)


def _messages(nth: int, device: str, exercises: Exercises) -> Iterator[RawMessage]:
    stamps, rows, labels = joined(exercises)
    for seq, start in enumerate(range(0, len(rows), ROWS)):
        first_ns = int(stamps[start])
        received_ns = int(stamps[start + ROWS - 1]) + (nth + 1) * APART_NS
        changes = [row for row in range(start, start + ROWS) if row == 0 or labels[row] != labels[row - 1]]
        if changes or seq % LABEL_EVERY == 0:
            since = changes[-1] if changes else start
            yield _message(f"watch/{device}/label", {"v": 1, "t": int(stamps[since]), "label": labels[since]}, received_ns)
        telemetry = {"v": 1, "seq": seq, "t": first_ns, "dt": PERIOD_NS, "x": rows[start : start + ROWS].astype("<f4").tobytes()}
        yield _message(f"watch/{device}/imu", telemetry, received_ns)


def _message(topic: str, fields: dict[str, Any], received_ns: int) -> RawMessage:
    return RawMessage(topic, msgpack.packb(fields), received_ns)
