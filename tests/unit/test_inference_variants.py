"""Which variant runs, what is known of each, and how a variant comes back after a slow spell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.inference.variants import FIRST_WAIT, LAST_WAIT, SETTLED, BoundVariant, Inference

US, MS = 1_000, 1_000_000


def run(vector: np.ndarray) -> list[float]:
    return [0.0]


def model(*p99_ns: int) -> Inference:
    variants = [BoundVariant(f"v{i}", run, p99) for i, p99 in enumerate(p99_ns)]
    return Inference("m", "1", ["a"], ["f"], variants)


def name_of(chosen: BoundVariant | None) -> str | None:
    return None if chosen is None else chosen.name


def test_the_first_in_preference_order_that_fits_is_chosen() -> None:
    inference = model(5 * MS, 2 * MS, MS)
    for remaining, want in [
        (10 * MS, "v0"),
        (5 * MS, "v0"),
        (5 * MS - 1, "v1"),
        (2 * MS - 1, "v2"),
        (MS, "v2"),
        (MS - 1, None),
        (0, None),
        (-1, None),
    ]:
        assert name_of(inference.choose(remaining, may_go_smaller=True)) == want
        assert name_of(inference.choose(remaining, may_go_smaller=False)) == (want if want == "v0" else None)


def test_what_never_fitted_is_not_tried() -> None:
    inference = model(5 * MS)
    assert all(inference.choose(4 * MS, may_go_smaller=True) is None for _ in range(5 * LAST_WAIT))


DISTRIBUTIONS = {
    "narrow": lambda rng, n: rng.normal(50e3, 300, n),
    "lognormal 0.1": lambda rng, n: rng.lognormal(np.log(50e3), 0.1, n),
    "lognormal 0.5": lambda rng, n: rng.lognormal(np.log(50e3), 0.5, n),
    "exponential": lambda rng, n: rng.exponential(50e3, n),
    "3 % five times slower": lambda rng, n: np.where(rng.random(n) < 0.03, 250e3, 50e3) * rng.lognormal(0, 0.05, n),
    "0.3 % hundred times slower": lambda rng, n: np.where(rng.random(n) < 0.003, 5e6, 50e3) * rng.lognormal(0, 0.05, n),
}


@pytest.mark.parametrize("start", [1_000, 50_000, 5_000_000])
@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_the_estimate_stays_near_the_99th_percentile(kind: str, start: int) -> None:
    took = DISTRIBUTIONS[kind](np.random.default_rng(2), 30_000)
    inference = model(start)
    variant, estimates = inference.variants[0], []
    for ns in took.astype(int).tolist():
        inference.observe(variant, ns)
        estimates.append(variant.p99_ns)
    ratio = np.array(estimates[10_000:]) / np.quantile(took, 0.99)
    assert 0.93 < np.median(ratio) < 1.05
    assert np.quantile(ratio, 0.01) > 0.75
    assert np.quantile(ratio, 0.99) < 1.5


def test_one_stall_moves_it_by_an_eighth() -> None:
    inference = model(50 * US)
    variant = inference.variants[0]
    inference.observe(variant, 10_000 * MS)
    assert variant.p99_ns == 50 * US + 50 * US // 8


def test_a_slow_spell_is_known_after_five_calls_and_forgotten_by_half_after_710() -> None:
    inference = model(50 * US)
    variant = inference.variants[0]
    for _ in range(5):
        inference.observe(variant, 400 * US)
    assert variant.p99_ns == 400 * US
    for _ in range(710):
        inference.observe(variant, 10 * US)
    assert 195 * US < variant.p99_ns < 205 * US
    for _ in range(20_000):
        inference.observe(variant, 10 * US)
    assert 9.9 * US < variant.p99_ns <= 10 * US


@given(st.integers(1, 10**9), st.lists(st.integers(0, 10**12), max_size=200))
def test_it_stays_between_what_was_seen_and_where_it_began(start: int, took: list[int]) -> None:
    inference = model(start)
    for ns in took:
        inference.observe(inference.variants[0], ns)
        variant = inference.variants[0]
        assert 0 <= variant.p99_ns <= max([start, *took])
        assert min([start, *took]) <= variant.p99_ns + variant.p99_ns // 500 + 1
        assert 0 <= variant.best_ns <= start


def play(inference: Inference, remaining_ns: int, took_ns: int, frames: int, *, smaller: bool = True) -> list[str | None]:
    """Let frames come; the preferred variant takes ``took_ns``, the others what they always take."""
    chosen_names = []
    for _ in range(frames):
        chosen = inference.choose(remaining_ns, may_go_smaller=smaller)
        chosen_names.append(name_of(chosen))
        if chosen is not None:
            inference.observe(chosen, took_ns if chosen is inference.variants[0] else 100 * US)
    return chosen_names


@pytest.mark.parametrize("smaller", [True, False])
def test_a_variant_that_became_slow_is_left_tried_ever_more_rarely_and_taken_back(smaller: bool) -> None:
    inference = model(MS, 100 * US)
    other = "v1" if smaller else None
    assert set(play(inference, 2 * MS, 900 * US, 100, smaller=smaller)) == {"v0"}
    spell = play(inference, 2 * MS, 8 * MS, 5000, smaller=smaller)
    assert set(spell) == {"v0", other}
    left = spell.index(other)
    assert left <= 5
    assert spell[left : left + FIRST_WAIT] == [other] * (FIRST_WAIT - 1) + ["v0"]
    trials = [i for i, name in enumerate(spell) if name == "v0" and i > left]
    assert set(np.diff(trials)[-5:]) == {LAST_WAIT}
    assert len(trials) <= 5000 / LAST_WAIT + 5
    after = play(inference, 2 * MS, 900 * US, 2 * LAST_WAIT, smaller=smaller)
    back = after.index("v0")
    assert back < LAST_WAIT
    assert set(after[back:]) == {"v0"}


def test_slow_from_time_to_time_costs_a_bounded_share_of_the_frames() -> None:
    """A third of the calls is slow: every trial that is fast by luck is followed by some that are not."""
    rng, inference, missed = np.random.default_rng(4), model(MS, 100 * US), 0
    for _ in range(20_000):
        chosen = inference.choose(2 * MS, may_go_smaller=True)
        assert chosen is not None
        took = 100 * US if chosen.name == "v1" else 8 * MS if rng.random() < 0.33 else 900 * US
        missed += took > 2 * MS
        inference.observe(chosen, took)
    assert missed < 0.02 * 20_000


def test_long_good_service_makes_trials_frequent_again() -> None:
    inference = model(MS, 100 * US)
    variant = inference.variants[0]
    play(inference, 2 * MS, 8 * MS, 3000)
    assert variant.wait == LAST_WAIT
    play(inference, 2 * MS, 900 * US, LAST_WAIT + SETTLED + 10)
    spell = play(inference, 2 * MS, 8 * MS, 8 * FIRST_WAIT + LAST_WAIT)
    trials = [i for i, name in enumerate(spell) if name == "v0"]
    assert np.diff(trials)[np.diff(trials) > 1].tolist()[1:3] == [FIRST_WAIT, 2 * FIRST_WAIT]


def test_an_admission_at_a_busy_moment_does_not_bar_a_variant_for_ever() -> None:
    """Measured 3 ms at the start, really 0.5 ms: after a slow spell it must come back although 3 ms would not fit."""
    inference = model(3 * MS, 100 * US)
    play(inference, 4 * MS, MS // 2, 5000)
    assert name_of(inference.choose(MS, may_go_smaller=True)) == "v0"
    spell = play(inference, MS, 8 * MS, 100)
    assert spell[-1] == "v1"
    assert play(inference, MS, MS // 2, 3 * LAST_WAIT)[-1] == "v0"
