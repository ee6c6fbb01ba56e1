"""How long graphs take, measured in turns so that a busy moment meets all of them."""

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from edge.inference.pack.int8 import one_row
from edge.inference.pack.original import call, open_plainly
from edge.inference.pack.rewrite import Rewritten
from edge.inference.pack.roles import Roles
from edge.inference.pack.run import zero_states

_ROUNDS, _WARM_UP = 200, 10
_ENOUGH_NS = 2_000_000_000


def compare_speed(models: Sequence[bytes], rewritten: Rewritten, roles: Roles, rows: npt.NDArray[Any], where: str) -> list[float]:
    """Median time of one call of each model, ns."""
    sessions = [open_plainly(model, where) for model in models]
    names = [*roles.scores, *(state.output for state in roles.states)]
    took: list[list[int]] = [[] for _ in models]
    clock, spent, states = time.perf_counter_ns, 0, zero_states(roles)
    for i in range(_ROUNDS):
        feeds = one_row(rewritten, roles, rows[i % len(rows)]) | states
        for session, times in zip(sessions, took, strict=True):
            before = clock()
            call(session, where, names, feeds)
            after = clock()
            spent += after - before
            if i >= _WARM_UP or spent > _ENOUGH_NS:
                times.append(after - before)
        if spent > _ENOUGH_NS and all(took):
            break
    return [statistics.median(times) for times in took]
