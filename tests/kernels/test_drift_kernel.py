"""Values are counted into the bins that numpy would take; what is not finite is counted apart."""

import numpy as np

from edge.kernels.drift import close_batch, count_values


def test_bins_are_those_of_digitize() -> None:
    rng = np.random.default_rng(1)
    edges = np.sort(rng.normal(size=(64, 9)).astype(np.float32), axis=1)
    edges[3, 4:] = np.nan
    counts, odd = np.zeros((64, 10), np.int32), np.zeros((64, 2), np.int64)
    frames = rng.normal(size=(200, 64)).astype(np.float32)
    frames[0] = edges[:, 2]  # a value at an edge belongs above
    for some in np.array_split(frames, [1, 1, 32, 100]):
        count_values(some, edges, counts, odd)
    for f in range(64):
        row = edges[f][np.isfinite(edges[f])]
        assert (counts[f] == np.bincount(np.digitize(frames[:, f], row), minlength=10)).all()
    assert not odd.any()


def test_not_finite_is_in_no_bin() -> None:
    counts, odd = np.zeros((3, 3), np.int32), np.zeros((3, 2), np.int64)
    count_values(np.array([[np.nan, np.inf, -np.inf]], np.float32), np.zeros((3, 2), np.float32), counts, odd)
    assert not counts.any()
    assert odd.tolist() == [[1, 0], [0, 1], [0, 1]]


def test_batches_add_up() -> None:
    rng = np.random.default_rng(2)
    sums, seen = np.zeros((5, 2, 4)), np.zeros((2, 2), np.int64)
    batches = rng.integers(0, 9, size=(6, 2, 4)).astype(np.int32)
    batches[2, 1] = 0  # nothing finite in it
    for batch in batches:
        close_batch(batch.copy(), sums, seen)
    shares = batches[:, 0] / batches[:, 0].sum(1, keepdims=True)
    np.testing.assert_allclose(sums[:3, 0], [shares.sum(0), (shares**2).sum(0), (shares[1:] * shares[:-1]).sum(0)])
    np.testing.assert_allclose(sums[3:, 0], [shares[-1], shares[0]])
    assert seen.tolist() == [[batches[:, 0].sum(), 6], [batches[:, 1].sum(), 5]]
