"""The cache of the bridge's kernels: used when it is sound, made anew when it is damaged or a source changed, done without if need be."""

import logging

import numba
import pytest

from firmware_bridge.jit import cached

FOREIGN = b"\x80\x04\x8c\x04nonenonesuch\x94."
DAMAGE = {"empty": b"", "zeros": b"\0" * 100, "foreign": FOREIGN, "cut": None}


def twice(x):
    return 2 * x


@pytest.fixture
def start(tmp_path, monkeypatch, caplog):
    """``start()``: as a new process would; returns whether it compiled nothing, and how often it told of damage."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    other = tmp_path / "other.py"
    other.write_text("a = 1\n")

    def start():
        with caplog.at_level(logging.WARNING):
            kernel = cached(twice, [other])
            assert kernel(21) == 42
        told = [record for record in caplog.records if "is damaged" in record.message]
        caplog.clear()
        return sum(kernel.stats.cache_hits.values()), len(told)

    start.folder, start.other = tmp_path / "cache", other
    return start


def test_a_second_start_compiles_nothing_unless_a_source_changed(start):
    assert [start(), start()] == [(0, 0), (1, 0)]
    start.other.write_text("a = 2\n")
    assert [start(), start()] == [(0, 0), (1, 0)]


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_cache_is_told_of_and_made_anew(start, suffix, damage):
    start()
    (path,) = start.folder.rglob(f"*{suffix}")
    path.write_bytes(path.read_bytes()[:50] if damage is None else damage)
    assert [start(), start()] == [(0, 1), (1, 0)]


def test_a_function_whose_file_is_not_there_is_compiled_without():
    names = {}
    exec("def thrice(x):\n    return 3 * x", names)  # noqa: S102 - a function without a file
    assert cached(names["thrice"], [])(7) == 21
