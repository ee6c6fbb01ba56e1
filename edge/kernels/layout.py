"""Where everything stands in a plan's tables and in a lane's state: the contract between the kernels and edge.features.plan.

The plan of a pipeline is a handful of tables. The state of one device (lane) is one row of each of three arrays (float32, float64,
int64), so it can be saved and moved as bytes.
"""

# The desk: addresses and sizes of everything the window kernel works on.
(
    D_STREAMS, D_N_STREAMS, D_GROUPS, D_N_GROUPS, D_JOBS, D_N_JOBS, D_ENTRIES, D_N_ENTRIES, D_NUMBERS, D_N_NUMBERS, D_LISTS, D_N_LISTS,
    D_F32, D_F32_WIDTH, D_F64, D_F64_WIDTH, D_I64, D_I64_WIDTH,
    D_VALUES, D_HEADS, D_MIDS, D_DUE, D_DUES, D_CHUNK, D_SCRATCH, D_SCRATCH_SIZE, D_X, D_T, D_VIEW, D_TWIDDLES, D_N_TWIDDLES,
    D_VECTORS, D_VECTOR_ROWS, D_MAX_VECTORS, D_FEATURES, D_AGES, D_N_AGES, D_PARTS, D_WORK,
) = range(39)  # fmt: skip
DESK_SIZE = 39

# Columns of the stream table.
(
    S_CHANNELS, S_CAPACITY, S_RING, S_STAMPS, S_MARKS, S_STATE, S_GROUPS, S_GROUPS_END, S_MAX_GAP, S_RESET_ON_GAP, S_PERIOD, S_ASOF,
    S_SHORTEST,
) = range(13)  # fmt: skip
STREAM_COLUMNS = 13
# A stream's int64 state.
T_TAIL, T_LAST_STAMP, T_STARTED, T_GAPS, T_OVERFLOW = range(5)
STREAM_STATE = 5
# A lane's int64 state begins with these: a bit for each table without a row for the device, vectors not made for that, and vectors not
# made because another stream was too old.
L_TABLES, L_UNJOINED, L_UNALIGNED = range(3)
LANE_STATE = 3

# Columns of the group table.
(
    G_BY_TIME, G_WINDOW, G_HOP_BY_TIME, G_HOP, G_CAPACITY, G_STATE, G_FEATURES, G_FEATURES_END, G_JOBS, G_JOBS_END, G_STREAM,
) = range(11)  # fmt: skip
GROUP_COLUMNS = 11
# A group's int64 state. H_ROWS counts rows since the last reset: a count, never a value, says that something has started. H_FIRST is the
# stamp from which a time window fills: the first one, or the first one after a silence that left the window empty.
H_HEAD, H_MID, H_ROWS, H_WARM, H_FIRST = range(5)
GROUP_STATE = 5

# A job is one mechanism at work on one channel (or pair) of a group, for all statistics that need it: kind, channels, its entries,
# and where its state begins.
J_KIND, J_CHANNEL, J_OTHER, J_ENTRIES, J_ENTRIES_END, J_F32, J_F64, J_I64, J_SIZE = range(9)
JOB_COLUMNS = 9
# Kinds of jobs, in the order in which they run.
(
    MOMENTS, HIGHER, TREND, COMOMENTS, EXTREMA, PLACES, PATH, CROSSINGS, FILLED, BINS, SMOOTH, SINCE, ORDER, POINT, SCAN, SPECTRUM, USER,
) = range(17)  # fmt: skip

# An entry is one feature: which, what of the job's results, and its parameters.
E_FEATURE, E_OPERATION, E_I, E_J, E_NUMBER = range(5)
ENTRY_COLUMNS = 5

# Operations, within their kind of job.
OP_MEAN, OP_VAR, OP_STD, OP_RMS = range(4)
OP_SKEW, OP_KURTOSIS = range(2)
OP_COV, OP_CORR = range(2)
OP_MIN, OP_MAX, OP_P2P, OP_CREST = range(4)
OP_ARGMIN, OP_ARGMAX = range(2)
OP_INTEGRAL, OP_JERK = range(2)
OP_SHARE, OP_ENTROPY = range(2)
OP_EWMA, OP_EWVAR = range(2)
OP_ABOVE, OP_ABOVE_OR_AT, OP_BELOW, OP_BELOW_OR_AT, OP_EQUAL = range(5)
OP_QUANTILE, OP_IQR, OP_MAD = range(3)
OP_LAST, OP_FIRST, OP_LAG, OP_COUNT, OP_RATE, OP_DERIVATIVE, OP_MAGNITUDE, OP_AGE = range(8)
OP_MEAN_CROSSINGS, OP_AUTOCORR, OP_OWN_SHARE, OP_OWN_ENTROPY = range(4)
OP_BAND, OP_DOMINANT, OP_CENTROID, OP_SPECTRAL_ENTROPY = range(4)


# Rows that go through a job at a time: the ring holds so many beyond the longest window.
CHUNK = 64
# What the sizes of a window's two parts come to at each row that is due, as float64, CHUNK of each: one over the rows of the back, of the
# front (0: none), of both; whether there is a front; the front's share of the rows; front times back over both; rows of front and back.
# Whole numbers become floating-point ones here, once for all channels: there is no vector instruction for it.
P_BACK_INVERSE, P_FRONT_INVERSE, P_INVERSE, P_HAS_FRONT, P_FRONT_SHARE, P_WEIGHT, P_FRONT, P_BACK = (i * CHUNK for i in range(8))


def sorted_shape(rows: int) -> tuple[int, int]:
    """Size and greatest number of blocks of a sorted list of so many values; see edge.kernels.ordered.

    Blocks of twice the square root: moving half a block and walking over the blocks then cost about the same. Up to 256 rows one block
    holds all, and moving 1 KB costs less than finding a block.
    """
    size = 256
    while size * size < 4 * rows:
        size *= 2
    return size, 1 if rows <= size else 4 * rows // size + 3


def fft_size(rows: int) -> int:
    """Least power of two that holds so many rows."""
    return 1 << max(rows - 1, 1).bit_length()
