"""Nothing that was altered, is missing, or lies outside of its folder is loaded from a bundle."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from inference_models import linear, write_bundle, writer

from edge.errors import BundleError
from edge.inference import bundle as bundle_module
from edge.inference.bundle import find_version, load_bundle, versions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "watch")
    return tmp_path / "watch"


def test_a_whole_bundle_is_loaded_with_the_bytes_that_were_hashed(folder: Path) -> None:
    told: list[str] = []
    bundle = load_bundle(folder, "1.0.0", report=lambda check, detail: told.append(check))
    assert bundle.files == {file: (folder / "1.0.0" / file).read_bytes() for file in ("full.onnx", "golden.npz")}
    assert told == ["manifest", "hashes", "self-contained"]


def test_one_flipped_bit_anywhere_is_refused(folder: Path) -> None:
    """Every byte of the model, and of the golden vectors, one bit each."""
    for file in ("full.onnx", "golden.npz"):
        path = folder / "1.0.0" / file
        healthy = path.read_bytes()
        step = max(len(healthy) // 600, 1)
        for at in range(0, len(healthy), step):
            damaged = bytearray(healthy)
            damaged[at] ^= 1 << (at % 8)
            path.write_bytes(damaged)
            with pytest.raises(BundleError, match=rf"{file}: sha256 is [0-9a-f]{{64}}, the manifest says [0-9a-f]{{64}}"):
                load_bundle(folder)
        path.write_bytes(healthy)
    load_bundle(folder)


@pytest.mark.parametrize("change", [b"", b"longer", None])
@pytest.mark.parametrize("file", ["full.onnx", "golden.npz"])
def test_a_file_that_is_cut_lengthened_or_missing_is_refused(folder: Path, file: str, change: bytes | None) -> None:
    path = folder / "1.0.0" / file
    if change is None:
        path.unlink()
    else:
        path.write_bytes((path.read_bytes() if change else b"") + change)
    with pytest.raises(BundleError, match=rf"{file}: {'is missing' if change is None else 'sha256 is'}"):
        load_bundle(folder)


def test_without_a_manifest_it_is_no_bundle(folder: Path) -> None:
    (folder / "1.0.0" / "manifest.toml").unlink()
    with pytest.raises(BundleError, match="it holds no complete version"):
        load_bundle(folder)
    with pytest.raises(BundleError, match=r"manifest\.toml: is missing; a bundle without it is not complete"):
        load_bundle(folder, "1.0.0")


def test_a_folder_renamed_by_hand_is_refused(folder: Path) -> None:
    (folder / "1.0.0").rename(folder / "2.0.0")
    with pytest.raises(BundleError, match=r"version is '1\.0\.0', the folder says '2\.0\.0'"):
        load_bundle(folder)


def test_external_data_is_refused_although_its_hash_holds(tmp_path: Path) -> None:
    folder = tmp_path / "watch"
    model = linear()
    weights = model.graph.initializer[0]
    weights.data_location = weights.EXTERNAL
    weights.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(BundleError, match="external data"):  # a writer does not even write it
        write_bundle(folder, models={"full": model})
    assert not folder.exists()
    home = write_bundle(folder)
    hostile = model.SerializeToString()
    (home / "full.onnx").write_bytes(hostile)
    rehash(home, "full.onnx")
    with pytest.raises(BundleError, match=r"full\.onnx: tensor 'w' has external data"):
        load_bundle(folder)


def rehash(home: Path, file: str) -> None:
    """Make the manifest agree with an altered file, as its author could."""
    from hashlib import sha256

    text = (home / "manifest.toml").read_text()
    text = re.sub(rf'"{file}" = "[0-9a-f]+"', f'"{file}" = "{sha256((home / file).read_bytes()).hexdigest()}"', text)
    (home / "manifest.toml").write_text(text)


@pytest.mark.parametrize("file", ["full.onnx", "manifest.toml"])
def test_links_out_of_the_bundle_are_refused_and_links_inside_are_not(folder: Path, tmp_path: Path, file: str) -> None:
    path = folder / "1.0.0" / file
    outside = tmp_path / "outside"
    shutil.copy(path, outside)
    path.unlink()
    for target in (outside, Path("../../outside"), folder / "shared"):
        if target == folder / "shared":
            shutil.copy(outside, target)
        path.symlink_to(target)
        with pytest.raises(BundleError, match=rf"{file}: leads to .*, outside of the bundle"):
            load_bundle(folder, "1.0.0")
        path.unlink()
    outside.rename(folder / "1.0.0" / "inside")
    path.symlink_to("inside")
    load_bundle(folder, "1.0.0")


def test_a_linked_folder_inside_the_bundle_cannot_leave_it(folder: Path, tmp_path: Path) -> None:
    home = folder / "1.0.0"
    (tmp_path / "elsewhere").mkdir()
    shutil.move(home / "full.onnx", tmp_path / "elsewhere" / "full.onnx")
    (home / "sub").symlink_to(tmp_path / "elsewhere")
    text = (home / "manifest.toml").read_text()
    (home / "manifest.toml").write_text(text.replace('"full.onnx"', '"sub/full.onnx"'))
    with pytest.raises(BundleError, match="outside of the bundle"):
        load_bundle(folder)


def test_odd_files_are_refused_and_do_not_block(folder: Path) -> None:
    path = folder / "1.0.0" / "full.onnx"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BundleError, match="is not a regular file"):
        load_bundle(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(BundleError, match=r"cannot be read|is not a regular file"):
        load_bundle(folder)
    path.rmdir()
    path.symlink_to(path.name)
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle(folder)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(BundleError, match="outside of the bundle"):
        load_bundle(folder)


def test_a_huge_file_is_not_read_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "MAX_FILE_BYTES", 1 << 16)
    with (folder / "1.0.0" / "full.onnx").open("r+b") as opened:
        opened.truncate(1 << 32)  # sparse
    with pytest.raises(BundleError, match="holds 4294967296 bytes; at most 65536 are read"):
        load_bundle(folder)


def make_versions(folder: Path, *names: str, complete: bool = True) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        if complete:
            (folder / name / "manifest.toml").touch()


def test_latest_is_the_highest_complete_version_by_natural_sort(tmp_path: Path) -> None:
    make_versions(tmp_path, "1.9.0", "1.10.0", "1.2.0", "0.99", "v2")
    make_versions(tmp_path, "3.0.0", complete=False)
    make_versions(tmp_path, ".4.0.0")
    (tmp_path / "current").symlink_to(tmp_path / "1.2.0")
    (tmp_path / "9.9.9").touch()
    assert versions(tmp_path) == ["v2", "0.99", "1.2.0", "1.9.0", "1.10.0"]
    assert find_version(tmp_path, "latest").name == "1.10.0"


def test_a_version_may_be_a_link_to_another_one_and_to_nothing_else(folder: Path, tmp_path: Path) -> None:
    (folder / "current").symlink_to("1.0.0")
    assert load_bundle(folder, "current").manifest.version == "1.0.0"
    shutil.copytree(folder / "1.0.0", tmp_path / "outside")
    (folder / "away").symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match="outside of the bundle"):
        load_bundle(folder, "away")


@pytest.mark.parametrize("version", ["..", ".", "", "../watch/1.0.0", "/etc", "1.0.0/", "a\\b", "a\0b"])
def test_a_version_is_one_folder_name(folder: Path, version: str) -> None:
    with pytest.raises(BundleError, match="is not a version; write a folder name such as"):
        load_bundle(folder, version)


def test_a_missing_version_or_folder_says_what_there_is(folder: Path) -> None:
    with pytest.raises(BundleError, match=r"no version '1\.0\.1'; it holds 1\.0\.0 \(did you mean '1\.0\.0'\?\)"):
        load_bundle(folder, "1.0.1")
    with pytest.raises(BundleError, match="there is no such folder"):
        load_bundle(folder / "nowhere")
    with pytest.raises(BundleError, match="there is no such folder"):
        load_bundle(folder / "1.0.0" / "manifest.toml")


def test_a_reader_never_sees_half_of_what_is_being_overwritten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every moment of a rewrite the version is either whole or not there."""
    from edge.inference import writer as writer_module

    sync, seen = writer_module._sync, []

    def look(path: Path) -> None:
        sync(path)
        try:
            seen.append(load_bundle(folder).manifest.version)
        except BundleError as e:
            seen.append(str(e))

    monkeypatch.setattr(writer_module, "_sync", look)
    again = writer(folder)
    inputs = np.zeros((1, 6), np.float32)
    again.add_variant("full", linear().SerializeToString(), np.full((1, 2), 0.5, np.float32))
    with pytest.raises(BundleError, match="is already there"):
        again.write(inputs)
    assert seen == []
    again.write(inputs, overwrite=True)
    assert len(seen) == 4
    assert all("no complete version" in moment for moment in seen[:-1])
    assert seen[-1] == "1.0.0"
    assert sorted(path.name for path in (folder / "1.0.0").iterdir()) == ["full.onnx", "golden.npz", "manifest.toml"]
