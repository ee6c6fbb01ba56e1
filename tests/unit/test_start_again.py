"""Reading the file again while the daemon runs: what this run refused stays refused, and an unreadable registry chooses nothing."""

import pytest

pytest.importorskip("onnx", reason="the models of these tests are built with onnx: pip install -e '.[dev]'")

from edge.build.start import Start, start_again
from edge.daemon.refused import Memory
from edge.errors import BundleError
from edge.store.registry import Registry
from tests.integration.model_bundles import PIPELINE, write


@pytest.fixture
def place(tmp_path):
    class Place:
        file = tmp_path / "pipeline.toml"
        registry = Registry(tmp_path / "thermo", proof=lambda *_: None)
        memory = Memory()
        refused = memory.of(tmp_path / "thermo")

        def again(self):
            return start_again(self.file, self.memory)

    for version in ("1.0.0", "2.0.0"):
        write(tmp_path, version)
    made = Place()
    made.file.write_text(PIPELINE)
    made.registry.activate("1.0.0", "ann")
    return made


def test_a_file_that_is_read_again_does_not_end_safe_mode_and_a_person_does(place):
    assert place.again() == Start()
    place.refused.safe_mode = "did not let 3 starts settle, one after the other"
    place.refused.refuse("1.0.0", place.refused.safe_mode)
    place.registry.note_start()
    assert "did not let 3 starts settle" in place.again().unfit
    place.registry.activate("1.0.0", "ann", "it was the disk")
    assert place.again() == Start()


def test_what_is_at_work_stays_so_where_the_active_version_was_refused(place):
    place.refused.at_work = "1.0.0"
    place.again()
    place.registry.activate("2.0.0", "ann")
    place.again()
    place.refused.refuse("2.0.0", "gave NaN")
    with pytest.raises(BundleError, match=r"2\.0\.0 gave NaN; 1\.0\.0 stays at work"):
        place.again()


def test_a_torn_registry_chooses_nothing_while_a_version_acts(place):
    place.refused.at_work = "1.0.0"
    (place.registry.folder / "registry.json").write_text("{")
    with pytest.raises(BundleError, match=r"1\.0\.0 stays at work until the registry can be read"):
        place.again()
