"""Where the numbers of cleaning are: rows of its tables, and the places of one lane's state. Plain integers, known when compiling."""

NO_STAMP = -(1 << 63)

# Rows of the channel table, float64 (CHANNEL_ROWS, C). v = ((x - offset) * scale) * factor + shift, the matrices before the factor.
OFFSET, SCALE, FACTOR, SHIFT, MAX_RATE, FLOOR, CONSTANT = range(7)
CHANNEL_ROWS = 7

# Rows of the flag table, int64 (FLAG_ROWS, C).
WATCH_SPIKES, WATCH_STUCK = range(2)
FLAG_ROWS = 2

# Settings, int64 (SETTINGS,): times in ns, 0 where a step is off.
POLICY, AGE_NS, SPIKE_WINDOW, STUCK_NS, GAP_NS, WAITING_ROWS = range(6)
SETTINGS = 6
REJECT, HOLD, LINEAR, FILL_CONSTANT = range(4)

# Tuning, float64 (TUNING,).
SIGMAS, RATE_HZ = range(2)
TUNING = 2

# What was done to values: rows of the counts, int64 (ACTIONS, C).
A_NOT_FINITE, A_RANGE, A_RATE, A_STUCK, A_SPIKE, A_HOLD, A_LINEAR, A_CONSTANT = range(8)
ACTIONS = 8

# What became of rows: int64 (OUTCOMES,), counted anew by every call. The first five are refusals: A_NOT_FINITE .. A_STUCK, then this.
R_MISSING, R_USED, R_LATE = 4, 5, 6
OUTCOMES = 7

# One lane, float64: the score, the row at hand, then tables by channel, the waiting rows, and the row before for resampling.
F_QUALITY = 0
F_ROW = 1
# One lane, int64: the header, then by channel, then WAITING_COLUMNS for each waiting row.
I_SEEN, I_SETTLED, I_HEAD, I_WAITING, I_BEFORE, I_NEXT, I_MARKS = range(7)
I_HEADER = 7
BY_CHANNEL_FLOATS = 3  # the row at hand, last good value, value that may be stuck
BY_CHANNEL_INTS = 5  # stamp of the last good value, since when it is stuck, values in the window, oldest of them, rows that wait for it
W_STAMP, W_RECEIVED, W_SEQ, W_MISSING, W_MARKS, W_FILLED, W_GOOD = range(7)
WAITING_COLUMNS = 7


def floats(channels: int, window: int, waiting: int) -> int:
    """Numbers of float64 state in a lane."""
    return 1 + channels * (BY_CHANNEL_FLOATS + 2 * window + waiting) + channels + 1


def ints(channels: int, waiting: int) -> int:
    """Numbers of int64 state in a lane."""
    return I_HEADER + channels * BY_CHANNEL_INTS + waiting * WAITING_COLUMNS
