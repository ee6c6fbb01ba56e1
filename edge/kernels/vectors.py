"""From what the windows of several streams say to whole vectors: when all of it is there, and where it comes from."""

from typing import Any

from edge.kernels import layout as k
from edge.kernels.jit import part
from edge.kernels.memory import float32_table, int64_pointer, int64s

_SECONDS = 1e-9


@part
def due_rows(desk: Any, g: int) -> Any:
    """The rows of the chunk at which group g is due."""
    return int64_pointer(desk[k.D_DUE] + 8 * desk[k.D_CHUNK] * g)


@part
def is_joined(streams: Any, groups: Any, stream: int, stamp: int, i64: Any) -> bool:
    """Whether all that comes from elsewhere is there: other streams' windows, not too old, and the tables' rows."""
    for g in range(groups.shape[0]):
        other = groups[g, k.G_STREAM]
        if other == stream:
            continue
        if i64[groups[g, k.G_STATE] + k.H_WARM] == 0:
            return False
        oldest = streams[other, k.S_ASOF]
        age = stamp - i64[streams[other, k.S_STATE] + k.T_LAST_STAMP]
        if age < 0 or 0 < oldest < age:
            i64[k.L_UNALIGNED] += 1
            return False
    if i64[k.L_TABLES] > 0:
        i64[k.L_UNJOINED] += 1
        return False
    return True


@part
def assemble(
    desk: Any, streams: Any, groups: Any, lists: Any, stream: int, f32: Any, i64: Any, dues: Any, values: Any, first_row: int,
    tail: int, emitted: int,
) -> int:  # fmt: skip
    """Put the chunk's vectors together: at each row where the trigger is due, every feature's latest value."""
    features = desk[k.D_FEATURES]
    vectors = float32_table(desk[k.D_VECTORS], desk[k.D_MAX_VECTORS], features)
    vector_rows = int64s(desk[k.D_VECTOR_ROWS], desk[k.D_MAX_VECTORS])
    stamps = streams[stream, k.S_STAMPS]
    mask = streams[stream, k.S_CAPACITY] - 1
    for v in range(dues[0]):
        r = due_rows(desk, 0)[v]
        stamp = i64[stamps + ((tail + r) & mask)]
        is_whole = True
        for g in range(streams[stream, k.S_GROUPS], streams[stream, k.S_GROUPS_END]):
            if i64[groups[g, k.G_STATE] + k.H_WARM] == 0 and (dues[g] == 0 or due_rows(desk, g)[0] > r):
                is_whole = False
        if not is_whole or not is_joined(streams, groups, stream, stamp, i64):
            continue
        for f in range(features):
            vectors[emitted, f] = f32[f]
        for g in range(streams[stream, k.S_GROUPS], streams[stream, k.S_GROUPS_END]):
            latest = dues[g] - 1
            while latest >= 0 and due_rows(desk, g)[latest] > r:
                latest -= 1
            if latest >= 0:
                for f in range(groups[g, k.G_FEATURES], groups[g, k.G_FEATURES_END]):
                    vectors[emitted, f] = values[latest * features + f]
        for a in range(desk[k.D_N_AGES]):
            feature = lists[desk[k.D_AGES] + 2 * a]
            other = lists[desk[k.D_AGES] + 2 * a + 1]
            newest = stamp if other == stream else i64[streams[other, k.S_STATE] + k.T_LAST_STAMP]
            vectors[emitted, feature] = (stamp - newest) * _SECONDS
        vector_rows[emitted] = first_row + r
        emitted += 1
    return emitted


@part
def name_rows(desk: Any, lists: Any, values: Any, dues: int, first_row: int, emitted: int) -> int:
    """Vectors that are in their place already only need the numbers of their rows."""
    vector_rows = int64_pointer(desk[k.D_VECTOR_ROWS])
    due = due_rows(desk, 0)
    for v in range(dues):
        vector_rows[emitted + v] = first_row + due[v]
        for a in range(desk[k.D_N_AGES]):
            values[v * desk[k.D_FEATURES] + lists[desk[k.D_AGES] + 2 * a]] = 0.0
    return emitted + dues
