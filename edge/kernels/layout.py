"""Where everything stands in a plan's tables and in a lane's state: the contract between the kernels and edge.features.plan.

The plan of a pipeline is three tables of int64. The state of one device (lane) is one row of each of three arrays (float32, float64,
int64), so it can be saved and moved as bytes.
"""

# Columns of the stream table.
S_CHANNELS, S_CAPACITY, S_RING, S_STAMPS, S_STATE, S_GROUPS, S_GROUPS_END, S_MAX_GAP, S_RESET_ON_GAP = range(9)
STREAM_COLUMNS = 9
# A stream's int64 state.
T_TAIL, T_LAST_STAMP, T_FIRST_STAMP, T_STARTED, T_GAPS, T_OVERFLOW = range(6)
STREAM_STATE = 6

# Columns of the group table. G_BACK and G_FRONT are offsets into the float64 state. A record is mean, m2, low, high and tx (co-moment
# with time) of every channel, then mean and m2 of time. The back is one record, followed by the ewma of every channel; the front has
# a record for each row of the window.
(
    G_COLUMNS,
    G_COLUMN_LIST,
    G_FAMILIES,
    G_BY_TIME,
    G_WINDOW,
    G_HOP_BY_TIME,
    G_HOP,
    G_CAPACITY,
    G_STATE,
    G_BACK,
    G_FRONT,
    G_FEATURES,
    G_FEATURES_END,
) = range(13)
GROUP_COLUMNS = 13
# A group's int64 state, followed by one zero-crossing count a channel. H_ROWS counts rows since the last reset: a count, never a
# value, says that something has started.
H_HEAD, H_MID, H_ROWS, H_WARM, H_ORIGIN = range(5)
GROUP_STATE = 5

# Families of statistics, as bits: a group pays for those it uses.
MOMENTS, EXTREMA, TREND, CROSSINGS, EWMA = 1, 2, 4, 8, 16

# Operations of the feature table (operation, channel within the group).
OP_MEAN, OP_VAR, OP_STD, OP_RMS, OP_MIN, OP_MAX, OP_P2P, OP_SLOPE, OP_CROSSINGS, OP_EWMA, OP_LAST, OP_COUNT = range(12)


def record_size(columns: int) -> int:
    """Float64 numbers of one aggregate record: mean, m2, low, high, tx per channel, then mean and m2 of time."""
    return 5 * columns + 2
