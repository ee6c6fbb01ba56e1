"""The collision guard in every scenario, on a virtual clock: it stops for what must be stopped for, and for nothing else."""

from pathlib import Path

import pytest

from edge.cli.demo.collision.drive import drive
from firmware_bridge.simulator import SCENARIOS, scenario

PIPELINE = Path(__file__).parents[2] / "models" / "lidar-objects" / "pipeline.toml"
OTHERS = {  # what is seen differently by few beams and by many is driven with them
    "slower_cyclist": "vlp16",
    "cut_in": "vlp16",
    "oncoming_car": "vlp16",
    "kerb_along": "vlp16",
    "speed_bump": "vlp16",
    "uphill": "vlp16",
    "crest": "vlp16",
    "overhead": "vlp16",
    "empty_road": "vlp16",
    "pavement_pedestrian": "vlp16",
}
pytestmark = pytest.mark.timeout(300)  # the first one on a machine compiles kernels


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_stops_for_what_must_be_stopped_for_and_for_nothing_else(name: str) -> None:
    sensor = OTHERS.get(name, "spin40")
    without = drive(None, scenario(name, 1), sensor, 1)
    assert without.collided == (without.expectation == "must_stop")
    guarded = drive(PIPELINE, scenario(name, 1), sensor, 1)
    assert guarded.is_as_expected, guarded
    assert guarded.obeyed > 0
    assert guarded.refused == 0
    if guarded.expectation == "must_stop":
        assert guarded.first_speed_mps > 0.9 * scenario(name, 1).speed_mps
        assert guarded.peak_mps2 > 5.0


def test_the_same_drive_ends_in_the_same_way() -> None:
    assert drive(PIPELINE, scenario("cut_in", 3), "vlp16", 3) == drive(PIPELINE, scenario("cut_in", 3), "vlp16", 3)
