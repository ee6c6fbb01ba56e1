"""Results of all rounds to Markdown: what each peer did, and the ratios beside the bars they must reach."""

import math
import statistics
from collections.abc import Callable, Iterable
from typing import Any

Result = dict[str, Any]

# Per bar: what, unit, wanted, whether less is better, and the value of one round. Ratios are taken within a round, where the machine
# was the same for both, and only then is the median taken over the rounds.
_Bar = tuple[str, float, bool, Callable[[Result], float]]


def _phase(peer: Result, kind: str, rate: int) -> Result:
    return next(phase for phase in peer[kind] if phase["rate"] == rate)


def _ratio(a: str, b: str, kind: str, rate: int, key: str) -> Callable[[Result], float]:
    def value(peers: Result) -> float:
        other = float(_phase(peers[b], kind, rate)[key])
        return float(_phase(peers[a], kind, rate)[key]) / other if other else math.inf

    return value


BARS: list[_Bar] = [
    ("round trip p50 at 5,000/s, times the floor's", 1.75, True, _ratio("edge", "echo", "messages", 5000, "p50_us")),
    ("round trip p99 at 5,000/s, times the floor's", 2.0, True, _ratio("edge", "echo", "messages", 5000, "p99_us")),
    ("messages/s flat out, times the floor's", 0.35, False, _ratio("edge", "echo", "messages", 0, "per_s")),
    ("messages/s flat out, times the script's", 4.0, False, _ratio("edge", "script", "messages", 0, "per_s")),
    ("million samples/s, 100 a message", 1.0, False, lambda peers: _samples(peers["edge"]) / 1e6),
    ("resident memory of the daemon under load, MB", 160.0, True, lambda peers: float(peers["edge"]["memory"]["VmRSS"])),
    ("start to READY with a warm cache, s", 2.5, True, lambda peers: max(peers["edge"]["ready_s"])),
]


def _samples(peer: Result) -> float:
    phase = _phase(peer, "blocks", 0)
    return float(phase["per_s"] * phase["rows"])


def markdown(results: Result, names: dict[str, str]) -> str:
    """The tables of a run.

    Args:
        results: what the runner wrote.
        names: peer to its name for people.
    """
    rounds = results["rounds"]
    peers = [name for name in names if name in rounds[0]]
    lines = [*_summary(results), "", *_peer_table(rounds, peers, names)]
    if {"edge", "echo", "script"} <= set(peers):
        lines += ["", *_bar_table(rounds)]
    return "\n".join(lines)


def _summary(results: Result) -> list[str]:
    machine, settings = results["machine"], results["settings"]
    jitter = results["jitter"]
    sentences = [
        f"{machine['cpu']}, {machine['cpus']} CPUs{machine['virtual']}, Linux {machine['kernel']}, Python {machine['python']}, "
        f"mosquitto {machine['mosquitto']}, onnxruntime {machine['onnxruntime']}, paho-mqtt {machine['paho']}.",
        f"{settings['rounds']} rounds, {settings['seconds']:g} s a phase, {settings['window']} messages on their way when flat out. "
        f"Load before: {machine['load']:.2f}.",
        f"A sleeper on this machine wakes late by {_spread(j['p50_us'] for j in jitter)} us (p50), "
        f"{_spread(j['p99_us'] for j in jitter)} us (p99), at most {max(j['max_us'] for j in jitter):.0f} us.",
    ]
    if "difference" in results:
        sentences.append(f"Scores of edge and the script on the same frames differ by at most {results['difference']:.1g}.")
    return [*sentences, "Each cell: median of the rounds (lowest to highest)."]


def _peer_table(rounds: list[Result], peers: list[str], names: dict[str, str]) -> list[str]:
    lines = [f"| | {' | '.join(names[peer] for peer in peers)} |", "|---|" + "---:|" * len(peers)]
    for title, value in _rows():
        cells = [_spread(value(found[peer]) for found in rounds) for peer in peers]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def _rows() -> Iterable[tuple[str, Callable[[Result], float]]]:
    for rate in (1000, 5000):
        for key, title in (("p50_us", "p50"), ("p90_us", "p90"), ("p99_us", "p99"), ("p999_us", "p99.9"), ("max_us", "max")):
            yield f"round trip at {rate:,}/s, us, {title}", lambda peer, rate=rate, key=key: _phase(peer, "messages", rate)[key]
    yield "answered at 5,000/s", lambda peer: _phase(peer, "messages", 5000)["per_s"]
    yield "flat out, messages/s", lambda peer: _phase(peer, "messages", 0)["per_s"]
    yield "flat out, CPU time of the peer a message, us", lambda peer: _cpu_us(_phase(peer, "messages", 0))
    yield "flat out, 100 samples a message, samples/s", _samples
    yield "resident memory under load, MB", lambda peer: peer["memory"]["VmRSS"]
    yield "resident memory at its highest, start included, MB", lambda peer: peer["memory"]["VmHWM"]
    yield "lost", lambda peer: sum(phase["lost"] for kind in ("messages", "blocks") for phase in peer[kind])


def _cpu_us(phase: Result) -> float:
    return float(phase["peer_cpu"] / max(phase["per_s"], 1) * 1e6)


def _bar_table(rounds: list[Result]) -> list[str]:
    lines = ["| bar | wanted | median | best | worst | |", "|---|---:|---:|---:|---:|---|"]
    for title, wanted, less_is_better, value in BARS:
        values = sorted((value(peers) for peers in rounds), reverse=not less_is_better)
        median = statistics.median(values)
        is_met = median <= wanted if less_is_better else median >= wanted
        sign = "<=" if less_is_better else ">="
        cells = f"{_number(median)} | {_number(values[0])} | {_number(values[-1])}"
        lines.append(f"| {title} | {sign} {wanted:g} | {cells} | {'met' if is_met else '**missed**'} |")
    return lines


def _spread(values: Iterable[float]) -> str:
    found = sorted(values)
    if found[0] == found[-1]:
        return _number(found[0])
    return f"{_number(statistics.median(found))} ({_number(found[0])} to {_number(found[-1])})"


def _number(value: float) -> str:
    if value == 0 or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
