"""Cleaning written plainly: one row at a time, Python numbers, the last values in lists and numpy's median."""

from fractions import Fraction

import numpy as np

S = 1_000_000_000


def f32(x):
    with np.errstate(over="ignore"):
        return float(np.float32(x))


class Oracle:
    """One lane. ``rows`` are what came out so far: (stamp, values, marks)."""

    def __init__(self, channels, **options):
        self.c = channels
        self.o = {
            "low": [-np.inf] * channels, "high": [np.inf] * channels, "offset": [0.0] * channels, "scale": [1.0] * channels,
            "factor": [1.0] * channels, "shift": [0.0] * channels, "matrices": [], "max_rate": [np.inf] * channels,
            "window": 0, "sigmas": 0.0, "floor": [0.0] * channels, "spikes": [], "stuck_ns": 0, "stuck": [], "policy": "reject",
            "age": 0, "constants": [np.nan] * channels, "gap": 0, "rate_hz": 0.0, "derived": [], "grid": None, "capacity": 1 << 30,
        } | options  # fmt: skip
        self.seen = self.settled = None
        self.good = [[] for _ in range(channels)]  # (stamp, value) of every good value
        self.window = [[] for _ in range(channels)]
        self.same = [None] * channels  # (value, since)
        self.queue = []
        self.quality = 1.0
        self.rows, self.filled = [], []  # after and before resampling
        self.outcome = dict.fromkeys(("used", "late", "not_finite", "range", "rate", "stuck", "missing"), 0)
        self.actions = {}

    def act(self, name, c):
        self.actions[name, c] = self.actions.get((name, c), 0) + 1

    def score(self, stamp, share):
        if self.settled is not None and self.o["rate_hz"]:
            lost = int((stamp - self.settled) * 1e-9 * self.o["rate_hz"] + 0.5) - 1
            self.quality *= 0.99 ** max(min(lost, 1000), 0)
        self.quality += (share - self.quality) / 100
        self.settled = stamp

    def calibrated(self, raw):
        o = self.o
        x = [(float(raw[c]) - o["offset"][c]) * o["scale"][c] for c in range(self.c)]
        for axes, matrix in o["matrices"]:
            old = [x[a] for a in axes]
            for r, a in enumerate(axes):
                x[a] = sum(float(matrix[r][j]) * old[j] for j in range(3) if matrix[r][j] != 0)
        return [f32(x[c] * o["factor"][c] + o["shift"][c]) for c in range(self.c)]

    def fault(self, c, v, stamp):
        o = self.o
        if not np.isfinite(v):
            return "not_finite"
        is_stuck = False
        if c in o["stuck"]:
            if self.same[c] is None or self.same[c][0] != v:
                self.same[c] = (v, stamp)
            is_stuck = stamp - self.same[c][1] > o["stuck_ns"]
        if not o["low"][c] <= v <= o["high"][c]:
            return "range"
        if self.good[c]:
            before, last = self.good[c][-1]
            if abs(v - last) > o["max_rate"][c] * ((stamp - before) * 1e-9):
                return "rate"
        return "stuck" if is_stuck else None

    def spike(self, c, v):
        """The median when v is a spike."""
        o = self.o
        window = self.window[c] = [*self.window[c], v][-o["window"] :]
        if len(window) < o["window"]:
            return None
        median = float(np.median(window))
        sigma = max(1.4826 * float(np.median(np.abs(np.array(window) - median))), o["floor"][c])
        return f32(median) if sigma > 0 and abs(v - median) > o["sigmas"] * sigma else None

    def push(self, stamp, raw, received=0):  # noqa: C901 - a list of what is done
        o = self.o
        if self.seen is not None and stamp <= self.seen:
            self.outcome["late"] += 1
            return
        if o["gap"] and self.seen is not None and stamp - self.seen > o["gap"]:
            self.window = [[] for _ in range(self.c)]
            self.same = [None] * self.c
        self.seen = stamp
        self.drain(lambda row: stamp - row["stamp"] > o["age"])
        values, marks, faults, good = self.calibrated(raw), 0, {}, self.c
        fresh = {}
        for c, v in enumerate(values):
            if fault := self.fault(c, v, stamp):
                faults[c] = fault
                self.act(fault, c)
                good -= 1
                continue
            if c in o["spikes"] and (median := self.spike(c, v)) is not None:
                self.act("spike", c)
                values[c], marks, good = median, marks | 1 << c, good - 1
                continue
            fresh[c] = v
        for c, v in fresh.items():
            for row in self.queue:
                if c in row["missing"] and not row["dead"]:
                    t0, x0 = self.good[c][-1]
                    row["values"][c] = f32(x0 + (v - x0) * ((row["stamp"] - t0) / (stamp - t0)))
                    row["missing"].discard(c)
                    row["filled"].append(c)
            self.good[c].append((stamp, v))
        self.drain(lambda row: False)
        row = {"stamp": stamp, "values": values, "marks": marks, "good": good, "missing": set(faults), "filled": [], "dead": False,
               "received": received, "reason": "missing"}  # fmt: skip
        self.fill(row, faults)
        if o["policy"] == "linear" and len(self.queue) == o["capacity"]:
            first = self.queue[0]
            self.drain(lambda other: other is first)
        self.queue.append(row)
        if o["policy"] != "linear":
            row["dead"] = bool(row["missing"])
        self.drain(lambda row: False)

    def fill(self, row, faults):
        policy = self.o["policy"]
        if policy == "reject" and faults:
            row["reason"] = next(name for name in ("not_finite", "range", "rate", "stuck") if name in faults.values())
        for c in faults:
            before = self.good[c][-1] if self.good[c] else None
            is_near = before is not None and row["stamp"] - before[0] <= self.o["age"]
            if policy == "constant" and not np.isnan(self.o["constants"][c]):
                row["values"][c] = f32(self.o["constants"][c])
            elif policy == "hold" and is_near:
                row["values"][c] = before[1]
            else:
                row["dead"] |= policy != "linear" or not is_near
                continue
            row["missing"].discard(c)
            row["filled"].append(c)

    def drain(self, is_over):
        while self.queue:
            row = self.queue[0]
            if row["missing"] and not row["dead"] and not is_over(row):
                break
            self.queue.pop(0)
            if row["missing"] or row["dead"]:
                self.outcome[row["reason"]] += 1
                self.score(row["stamp"], 0.0)
                continue
            for c in row["filled"]:
                self.act(self.o["policy"], c)
                row["marks"] |= 1 << c
            self.score(row["stamp"], row["good"] / self.c)
            self.outcome["used"] += 1
            self.filled.append((row["stamp"], [*row["values"], f32(self.quality)], row["marks"]))
            self.resample() if self.o["grid"] else self.emit(*self.filled[-1])

    def emit(self, stamp, values, marks):
        *values, quality = values
        norms = []
        for d, columns in enumerate(self.o["derived"]):
            norms.append(min(f32(np.sqrt(sum(values[c] ** 2 for c in columns))), float(np.finfo(np.float32).max)))
            if any(marks >> c & 1 for c in columns):
                marks |= 1 << (self.c + d)
        self.rows.append((stamp, [*values, *norms, quality], marks))

    def resample(self):
        """Every grid point after the row before, up to the new one."""
        rate, max_gap, holds = self.o["grid"]
        t1, new, marks1 = self.filled[-1]
        period = Fraction(S) / Fraction(rate).limit_denominator(1000)
        point = int(t1 / period) + 2
        points = []
        t0 = self.filled[-2][0] if len(self.filled) > 1 else None
        is_joined = t0 is not None and t1 - t0 <= max_gap
        while (t := point * period // 1) > (t0 if is_joined else t1 - 1):
            if t <= t1:
                points.append(int(t))
            point -= 1
        for t in reversed(points):
            if t == t1:
                self.emit(t, new, marks1)
                continue
            _, old, marks0 = self.filled[-2]
            part = 0.0 if holds else (t - t0) / (t1 - t0)
            self.emit(t, [f32(a + (b - a) * part) for a, b in zip(old, new, strict=True)], marks0 if holds else marks0 | marks1)
