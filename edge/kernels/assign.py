"""The cheapest pairs of detections and tracks, over all pairs at once.

Shortest augmenting paths on the gated costs: each row is either given a column or left alone at the price of the gate, so the sum of
the costs plus the gate for every row without a column is as small as it can be. Bounded: for n rows and m columns at most n searches
of at most m + 1 steps over m columns. Gated costs are sparse, so that a search seldom has more than two steps.
Source: R. Jonker, A. Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems", Computing 38
(1987); D. F. Crouse, "On implementing 2D rectangular assignment algorithms", IEEE TAES 52 (2016). The way to be left alone is a column
of its own for every row: nobody else can take it, so it ends a search and needs no memory.
"""

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel


@kernel("void(float64[:, ::1], int64, int64, float64, float64[:, ::1], int64[:, ::1], int64[::1], int64[::1])")
def assign(
    costs: npt.NDArray[np.float64],
    rows: int,
    columns: int,
    gate: float,
    prices: npt.NDArray[np.float64],
    marks: npt.NDArray[np.int64],
    column_of: npt.NDArray[np.int64],
    row_of: npt.NDArray[np.int64],
) -> None:
    """Give rows to columns. Equal costs are settled by order: the same input always gives the same pairs.

    Args:
        costs: (>= rows, >= columns), at least 0; above the gate (infinity): impossible.
        rows, columns: how much of ``costs`` is used.
        gate: price of a row that gets no column.
        prices: scratch (3, at least the larger of both).
        marks: scratch (3, at least the larger of both).
        column_of: out: of each row, -1: none.
        row_of: out: of each column, -1: none.
    """
    u, v, shortest = prices[0], prices[1], prices[2]  # dual prices of rows and columns; the way to each column
    parent, scanned, visited = marks[0], marks[1], marks[2]
    for j in range(columns):
        v[j] = 0.0
        row_of[j] = -1
    for i in range(rows):
        u[i] = 0.0
        column_of[i] = -1
    for first in range(rows):
        for j in range(columns):
            shortest[j] = np.inf
            scanned[j] = 0
        steps = 0  # the columns scanned, in visited
        row = first
        length = 0.0
        ending = gate - u[first]  # the way that ends by leaving a row alone
        alone = first
        sink = -1
        while True:
            best = np.inf
            at = -1
            for j in range(columns):
                if scanned[j] == 1:
                    continue
                cost = costs[row, j]
                if cost <= gate:
                    way = length + cost - u[row] - v[j]
                    if way < shortest[j]:
                        shortest[j] = way
                        parent[j] = row
                if shortest[j] < best:
                    best = shortest[j]
                    at = j
            if at < 0 or best >= ending:
                length = ending
                break
            length = best
            scanned[at] = 1
            visited[steps] = at
            steps += 1
            if row_of[at] < 0:
                sink = at
                break
            row = row_of[at]
            way = length + gate - u[row]
            if way < ending:
                ending = way
                alone = row
        u[first] += length
        for k in range(steps):
            j = visited[k]
            if j != sink:
                u[row_of[j]] += length - shortest[j]
                v[j] -= length - shortest[j]
        j = sink
        if sink < 0:  # free the column of the row that is left alone, and hand it on
            j = column_of[alone]
            column_of[alone] = -1
        while j >= 0:
            row = parent[j]
            row_of[j] = row
            following = column_of[row]
            column_of[row] = j
            if row == first:
                break
            j = following
