"""A proved version into the hot process, while the hot process works: in pieces, and without its bytes ever being in Python.

Measured, 20 MB model, onnxruntime 1.32: a session made of bytes holds the interpreter for 2 to 3.5 ms (they are copied and parsed
under its lock), one made of a path for less than 1 ms. So the file is copied into memory that has a path (memfd), hashed there, and
sealed: what was hashed cannot be changed any more, and is what is loaded.
"""

import fcntl
import hashlib
import os
import time
from pathlib import Path

from edge.errors import BundleError, InferenceFault
from edge.inference.admission import read_golden_of
from edge.inference.bundle import Bundle, find_version, manifest_bytes, read_hashed
from edge.inference.manifest import MANIFEST, Manifest
from edge.inference.manifest_check import parse
from edge.inference.proving import Proof
from edge.inference.session import Session, Tensors
from edge.inference.states import States
from edge.inference.variants import BoundVariant, Inference

_PIECE_BYTES = 1 << 18
_YIELD_S = 0.0002
_WARM_UP_RUNS = 20
_FIRST_RUN_LIMIT_S = 10.0


def load_proved(folder: Path, proof: Proof, lanes: int) -> Inference:
    """Load what was proved, without proving or timing it again.

    Args:
        folder: of the bundle.
        proof: of the version; the files must still be those.
        lanes: devices whose states are kept.

    Returns:
        The model with the variants that fitted when it was proved, warm.

    Raises:
        BundleError: a file is not the one that was proved, or cannot be loaded here.
    """
    home = find_version(folder, proof.version)
    data = manifest_bytes(home)
    if hashlib.sha256(data).hexdigest() != proof.manifest_sha256:
        raise BundleError(f"{home / MANIFEST}: was changed after it had been proved; activate the version again")
    manifest = parse(data, str(home / MANIFEST))
    states = States.of(manifest, lanes)
    golden_file = manifest.golden.file
    bundle = Bundle(home, manifest, {golden_file: read_hashed(home, golden_file, manifest.files[golden_file])}, proof.manifest_sha256)
    rows = read_golden_of(bundle).inputs
    bound = []
    for proven in proof.variants:
        file = next(variant.file for variant in manifest.variants if variant.name == proven.name)
        session = _session(home, manifest, file, states)
        try:
            if states is not None:
                states.reset(0)
            session.first_run(rows[0], _FIRST_RUN_LIMIT_S)
            for i in range(_WARM_UP_RUNS):
                session.run(rows[i % len(rows)], 0)
                time.sleep(_YIELD_S)
        except InferenceFault as fault:
            raise BundleError(f"{fault} (on the golden inputs, although it was proved)") from fault
        bound.append(BoundVariant(proven.name, session.run, proven.p99_ns))
    if states is not None:
        states.reset(0)
    return Inference(manifest.name, manifest.version, manifest.labels, [feature.name for feature in manifest.features], bound, states)


def _session(home: Path, manifest: Manifest, file: str, states: States | None) -> Session:
    where, tensors = str(home / file), Tensors.of(manifest)
    if not hasattr(os, "memfd_create"):  # not Linux: the bytes themselves
        return Session(read_hashed(home, file, manifest.files[file]), where, tensors, states)
    descriptor = os.memfd_create("edge-model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        _copy_hashed(home, manifest, file, descriptor)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return Session(f"/proc/self/fd/{descriptor}", where, tensors, states)
    finally:
        os.close(descriptor)


def _copy_hashed(home: Path, manifest: Manifest, file: str, descriptor: int) -> None:
    """Copy a file into a descriptor and hash the copy; the interpreter is free between two pieces."""
    path = (home / file).resolve()
    if not path.is_relative_to(home.resolve()):
        raise BundleError(f"{home / file}: leads to {path}, outside of the bundle; put the file itself there")
    digest = hashlib.sha256()
    piece = memoryview(bytearray(_PIECE_BYTES))
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            while size := os.readv(source, [piece]):
                digest.update(piece[:size])
                written = 0
                while written < size:
                    written += os.write(descriptor, piece[written:size])
                time.sleep(_YIELD_S)
        finally:
            os.close(source)
    except OSError as fault:
        raise BundleError(f"{home / file}: cannot be read: {fault}; a regular file that this user may read is right") from fault
    if digest.hexdigest() != manifest.files[file]:
        raise BundleError(f"{home / file}: was changed after it had been proved; activate the version again")
