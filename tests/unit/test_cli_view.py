"""`edge view`: what is written, what is refused, what pictures and terminals show; and every real frame that there is."""

import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs Pillow: pip install 'edge-runtime[view]'")

from PIL import Image

from edge.cli.main import main
from edge.cli.scans import timed
from edge.cli.view import colours, plan
from edge.cli.view.command import Options, Viewer
from edge.cli.view.picture import render
from edge.cli.view.terminal import terminal
from edge.config.lidar import Lidar, LidarVehicle
from edge.config.load import loads
from edge.lidar.channels import channels
from edge.lidar.ego import Ego
from edge.lidar.vehicle import Vehicle
from edge.messages import Scan

DATA = Path(__file__).parents[3] / "shared" / "data"
REAL = {  # heights as estimated from the ground in the scans
    "lidar-nebula/velodyne/vlp16": 0.4,
    "lidar-nebula/robosense/helios": 3.95,
    "lidar-nebula/robosense/helios16P": 0.4,
    "lidar-nebula/robosense/rubyplus": 3.0,
    "lidar-nebula/hesai/xt32m": 0.8,
    "lidar-ouster/OS-0-128-U1_v2.3.0_1024x10.pcap.gz": 1.95,
    "lidar-ouster/OS-1-128_v2.3.0_1024x10_lb_n3.pcap.gz": 1.95,
    "lidar-ouster/OS-1-32-G_v2.1.1_1024x10.pcap.gz": 1.95,
    "lidar-ouster/crc_test.pcap.gz": 0.7,
    "lidar-sustech/lidar": 1.7,
}
PIPELINE = """
name = "p"
budget_ms = 50
[streams.speed]
topic = "a/{device}/speed"
channels = { v = "m/s" }
[streams.lidar]
topic = "a/{device}/lidar"
kind = "scan"
[streams.small]
topic = "a/{device}/small"
kind = "scan"
max_points = 100
"""


def a_street(x_m: float = 12.0, more: int = 0) -> np.ndarray:
    """Level ground under a sensor at 1.8 m, and the rear of a car ahead."""
    random = np.random.default_rng(0)
    radius, angle = np.repeat(np.linspace(3, 30, 40), 360), np.tile(np.arange(360) * (math.pi / 180), 40)
    ground = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), np.full(len(radius), -1.8)])
    y, z = np.meshgrid(np.arange(-0.9, 0.91, 0.1), np.arange(-1.75, -0.3, 0.1))
    rear = np.column_stack([np.full(y.size, x_m), y.ravel(), z.ravel()])
    return np.vstack([ground, rear, np.full((more, 3), np.nan)]).astype(np.float32) + random.normal(0, 0.005, 3).astype(np.float32)


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Five scans; the car comes 0.5 m nearer each."""
    folder = tmp_path / "drive"
    folder.mkdir()
    for i in range(5):
        np.savez(folder / f"{i:03d}.npz", points=a_street(14.0 - 0.5 * i))
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.toml"
    path.write_text(PIPELINE)
    return path


def test_a_picture_of_the_last_scan(drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "seen.png"
    assert main(["view", str(drive), "--out", str(out), "--width-px", "600"]) == 0
    said = capsys.readouterr().out
    assert "drive scan 4, " in said
    assert " 1 objects" in said
    assert "nearest ahead 8.2 m, time to collision " in said
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        assert picture.width == 600
    assert out.stat().st_size < 150_000


def test_all_scans(drive: Path, tmp_path: Path) -> None:
    assert main(["view", str(drive), "-o", str(tmp_path / "a.png"), "--frame", "all", "--width-px", "200"]) == 0
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [f"a-{i:03d}.png" for i in range(5)]


def test_the_default_name_is_that_of_the_scans(drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["view", "drive", "--frame", "1"]) == 0
    assert (tmp_path / "drive.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["{}/none.pcd"], 4, "none.pcd: No such file"),
        (["{}/pipeline.toml"], 4, "can be read"),
        (["{}/drive", "--frame", "5"], 4, "scans are numbered from 0 to 4; there is no 5"),
        (["{}/drive", "--frame", "-1"], 2, "--frame"),
        (["{}/drive", "--frame", "some"], 2, "a number from 0 on, or all"),
        (["{}/drive", "--out", "{}/a.jpg"], 2, "written as .png"),
        (["{}/drive", "--out", "{}/none/a.png"], 4, "a.png: No such file or directory"),
        (["{}/drive", "--labels", "names"], 2, "--labels"),
        (["{}/drive", "--width-px", "10"], 2, "--width-px"),
        (["{}/drive", "--pipeline", "{}/none.toml"], 3, "there is no such file"),
        (["{}/drive", "--pipeline", "{}/pipeline.toml", "--stream", "speed"], 2, "the scan streams are lidar, small"),
        (["{}/drive", "--pipeline", "{}/pipeline.toml", "--stream", "small"], 4, "the stream's max_points is 100"),
        (["{}/drive", "--stream", "lidar"], 2, "--stream names a stream of --pipeline"),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: list[str], code: int, words: str, drive: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "out.png")]
    assert main(["view", *(each.replace("{}", str(tmp_path)) for each in arguments), *out]) == code
    said = capsys.readouterr().err
    plain = " ".join(said.replace("│", " ").split())
    assert words in plain
    if code != 2:
        assert said.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


def test_a_file_without_scans_of_its_own_is_refused(drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "p.toml"
    file.write_text(PIPELINE.split("[streams.lidar]", maxsplit=1)[0])
    assert main(["view", str(drive), "--pipeline", str(file)]) == 3
    assert 'streams: there is none of kind = "scan"' in capsys.readouterr().err


def test_without_pillow_one_line_says_what_to_install(
    drive: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert main(["view", str(drive)]) == 1
    assert capsys.readouterr().err == "edge: pictures need Pillow, which is not installed: pip install 'edge-runtime[view]'\n"


def test_settings_come_from_the_pipeline_and_the_height_from_the_command_line(file: Path) -> None:
    file.write_text(PIPELINE + "[streams.small.scan]\nsectors = 7\nmount = { z_m = 2.5, x_m = 1 }\n")
    settings = Viewer(Options(pipeline=file, stream="small", mount_height_m=3.0)).chain.settings
    assert (settings.sectors, settings.max_points) == (7, 100)
    assert (settings.mount.z_m, settings.mount.x_m) == (3.0, 1.0)
    assert Viewer(Options(pipeline=file)).chain.settings.max_points == 262_144


def test_a_wrong_height_is_said(drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(drive), "-o", str(tmp_path / "a.png"), "--mount-height", "1.4"]) == 0
    assert "the ground lies 0.40 m below where a mount height of 1.4 m puts it; try 1.80" in capsys.readouterr().out


def seen(*points: np.ndarray, **options):
    viewer = Viewer(Options(**options))
    scans = (Scan(each, ("x", "y", "z"), i, (i + 1) * 100_000_000, 0) for i, each in enumerate(points))
    return viewer.chain, viewer.look(scans)


def test_objects_keep_their_numbers_when_a_larger_scan_needs_more_memory() -> None:
    _, looks = seen(a_street(14), a_street(13.5), a_street(13, more=300_000), a_street(12.5))
    numbers = [look.scene.tracks.detection_id.tolist() for look in looks]
    assert numbers == [numbers[0]] * 4
    assert len(numbers[0]) == 1


def test_memory_by_columns_and_of_messages_is_taken() -> None:
    points = np.asfortranarray(a_street())
    points.flags.writeable = False
    (look,) = seen(points)[1]
    assert len(look.scene.boxes) == 1


def pixel(window: plan.Window, x: float, y: float) -> tuple[int, int]:
    ((column, row),) = window.place([[x, y]])
    return int(column), int(row)


def test_a_picture_shows_ground_car_vehicle_and_the_edge_of_the_region() -> None:
    chain, looks = seen(*(a_street(14 - 0.5 * i) for i in range(5)))
    *_, look = looks
    picture = render(look.scene, chain.settings, width_px=800, reach_m=20, labels="none")
    assert picture.size == (800, 800)
    window = plan.Window((-20, 20), (-20, 20), 20.0)
    image = np.asarray(picture).astype(int)
    track = look.scene.tracks
    c, r = pixel(window, float(track.box[0, 0]), float(track.box[0, 1]))
    near = image[r - 5 : r + 6, c - 30 : c + 31].reshape(-1, 3)
    assert (np.abs(near - colours.ALARM).max(axis=1) < 40).any()  # the nearest ahead is framed
    c, r = pixel(window, 1.0, 0.95)
    assert (np.abs(image[r, c - 2 : c + 3] - colours.VEHICLE).max(axis=1) < 40).any()
    whole = render(look.scene, chain.settings, width_px=400, labels="id", caption=("one", "two"))
    assert whole.width == 400
    assert whole.height > 550


def test_the_car_that_comes_nearer_has_an_arrow() -> None:
    _, looks = seen(*(a_street(14 - 0.5 * i) for i in range(6)))
    for look in looks:
        moving = plan.moving(look.scene)
    assert moving.tolist() == [0]
    assert look.scene.tracks.velocity[0, 0] == pytest.approx(-5, abs=0.7)


def test_a_terminal_shows_the_same() -> None:
    chain, looks = seen(a_street())
    (look,) = looks
    text = terminal(look.scene, chain.settings, 60, 30, reach_m=20)
    lines = text.plain.split("\n")
    assert [len(line) for line in lines] == [60] * 30
    assert set(text.plain) == {"▀", "\n"}
    shown = {span.style.color.triplet for span in text.spans} | {span.style.bgcolor.triplet for span in text.spans}
    for colour in (colours.VEHICLE, colours.GRID, colours.CLASSES[2]):
        assert colour in shown
    for columns, rows in ((1, 1), (200, 2), (3, 100)):
        assert len(terminal(look.scene, chain.settings, columns, rows, ego=Ego(5.0, 0.5)).plain.split("\n")) == rows


def test_nothing_at_all_is_a_picture_too() -> None:
    chain, looks = seen(np.empty((0, 3), np.float32))
    (look,) = looks
    assert plan.reach(look.scene) == 10
    assert plan.ground_error(look.scene) == 0
    assert render(look.scene, chain.settings, width_px=300).width == 300
    assert terminal(look.scene, chain.settings, 20, 10).plain


def test_a_path_bends_with_the_yaw_rate() -> None:
    vehicle = Vehicle()
    straight = plan.corridor(vehicle, Ego(), 20.0)
    assert np.abs(straight[:, 1]).max() == pytest.approx(1.2)
    assert straight[:, 0].min() == vehicle.front_m
    left = plan.corridor(vehicle, Ego(10.0, 0.5), 20.0)
    distance = np.hypot(left[:, 0], left[:, 1] - 20.0)  # around a circle of 20 m
    np.testing.assert_allclose(np.abs(distance - 20.0), 1.2, atol=1e-9)
    assert left[:, 1].max() > 5
    assert np.isfinite(plan.corridor(vehicle, Ego(0.0, 3.0), 100.0)).all()


def test_corners_are_where_the_box_is_turned_to() -> None:
    box = np.array([[10, 5, 0, 4, 2, 1, math.pi / 2, 0]], np.float32)
    np.testing.assert_allclose(sorted(plan.corners(box)[0].round(5).tolist()), [[9, 3], [9, 7], [11, 3], [11, 7]], atol=1e-5)


@pytest.mark.parametrize("name", REAL)
def test_every_real_frame_runs(name: str) -> None:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"needs {name} in {DATA}; it is not part of the repository")
    if "vlp16" in name:
        pytest.importorskip("velodyne_decoder", reason="the packets in this folder need it")
    viewer = Viewer(Options(mount_height_m=REAL[name]))
    settings, count = viewer.chain.settings, 0
    for look in viewer.look(timed([path], None, None)):
        boxes, tracks = look.scene.boxes, look.scene.tracks
        count += 1
        assert np.isfinite(look.scene.row).all()
        assert np.isfinite(boxes).all()
        assert np.isfinite(tracks.box).all()
        assert np.isfinite(tracks.velocity).all()
        assert 1 <= len(boxes) <= settings.objects_max
        assert (boxes[:, 3:6] > 0).all()
        assert (boxes[:, 3:5] < 120).all()
        assert (boxes[:, 3] >= boxes[:, 4] - 1e-4).all()
        tall = boxes[:, 5] > settings.clearance_m + settings.slope_max * boxes[:, 3] + 0.1  # more than a slope explains: a bush as ground
        assert tall.mean() < 0.02
        assert (boxes[:, 5] < 2 * settings.clearance_m).all()
        assert (boxes[:, 7] >= 0).all()
        inside = (boxes[:, 0] > settings.x_m[0] - 1) & (boxes[:, 0] < settings.x_m[1] + 1) & (np.abs(boxes[:, 1]) < settings.y_m[1] + 1)
        assert inside.all()
    assert count
    assert render(look.scene, settings, reach_m=plan.reach(look.scene), width_px=300).width == 300
    assert terminal(look.scene, settings, 40, 20).plain


PAGE = (Path(__file__).parents[2] / "docs" / "lidar.md").read_text(encoding="utf-8")


def test_the_page_s_file_is_a_pipeline_and_its_table_has_every_channel(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert loads(text, tmp_path).streams["lidar"].kind == "scan"
    for name in channels(1):
        assert f"`{name}`" in PAGE, name
    for key in Lidar.__struct_fields__:
        assert key in PAGE, key
    for key in LidarVehicle.__struct_fields__:
        assert f"vehicle.{key}" in PAGE, key


def test_the_page_s_pictures_are_there_and_small() -> None:
    shown = re.findall(r"\]\((pictures/lidar-.*?)\)", PAGE)
    assert len(shown) == 9
    for name in shown:
        assert 1000 < (Path(__file__).parents[2] / "docs" / name).stat().st_size <= 150_000
