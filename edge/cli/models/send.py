"""`edge models send`: the sending side of an install over MQTT. Sends what the device asks for, until it says how it ended."""

import hashlib
import io
import tarfile
import tempfile
import time
import zlib
from pathlib import Path
from typing import IO, Annotated

import msgspec
import typer

from edge.cli.models.registry import Who, Why, me
from edge.errors import BundleError, TransportError

CHUNK_BYTES = 32_768
_SILENCE_S = 5.0
_OFFER_EVERY_S = 2.0  # while nothing is heard
_TTL_MS = 60_000


def send(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="folder of a version", show_default=False)],
    url: Annotated[str, typer.Option("--url", metavar="URL", help="broker, such as mqtt://127.0.0.1:1883", show_default=False)],
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="of the pipeline, or as given to `receive --name`", show_default=False)],
    why: Why = "",
    who: Who = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="allow plaintext to another machine")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", metavar="S", min=1, help="give up after so long without a word")] = 60.0,
) -> None:
    """Bring a version to a device over MQTT; `edge models receive` runs there. Goes on where it was when it is started again."""
    with tempfile.TemporaryFile() as archive:
        raise typer.Exit(_send(pack(bundle, archive), archive, url, to, me(who), why, insecure=insecure, timeout_s=timeout_s))


def pack(bundle: Path, archive: IO[bytes]) -> tuple[str, str]:
    """Write the listed files of a version as a tar that has the same bytes every time.

    Returns:
        Name and version.

    Raises:
        BundleError: not a bundle.
    """
    from edge.inference.bundle import load_bundle, manifest_bytes
    from edge.inference.manifest import MANIFEST

    home = bundle.resolve()
    loaded = load_bundle(home.parent, home.name) if (home / MANIFEST).is_file() else load_bundle(home)
    files = {MANIFEST: manifest_bytes(loaded.folder)} | dict(sorted(loaded.files.items()))
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{loaded.manifest.version}/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return loaded.manifest.name, loaded.manifest.version


def _sha256(archive: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while data := archive.read(1 << 20):
        digest.update(data)
    return digest.hexdigest()


def _send(named: tuple[str, str], archive: IO[bytes], url: str, to: str, who: str, why: str, *, insecure: bool, timeout_s: float) -> int:
    from edge.cli.models.post import DatedOffer, Post, Reply, link_of, now_dated, topics
    from edge.messages import RawMessage

    archive.seek(0)
    sha256 = _sha256(archive)
    size = archive.tell()
    offer_id, where = sha256[:32], topics(to)
    replies: list[Reply] = []

    def take(raw: RawMessage) -> None:
        if not raw.is_retained:
            replies.append(msgspec.json.decode(raw.payload, type=Reply))

    reply_topic, piece_topic = where["reply"].replace("+", offer_id), where["piece"].replace("+", offer_id)
    heard_s, offer_s, has_told = time.monotonic(), 0.0, False
    post = Post(link_of(url, insecure=insecure), [reply_topic], take)
    with post.open():
        while not post.is_stopping:
            post.turn()
            now_s = time.monotonic()
            for reply in replies:
                heard_s = offer_s = now_s
                if reply.state == "installed":
                    typer.echo(f"{to}: {named[0]} {reply.version} is installed")
                    return 0
                if reply.state == "refused":
                    raise BundleError(f"{to}: {reply.error}")
                for number in reply.pieces if post.waiting == 0 else ():
                    archive.seek(number * CHUNK_BYTES)
                    data = archive.read(CHUNK_BYTES)
                    post.send(piece_topic, number.to_bytes(4, "big") + zlib.crc32(data).to_bytes(4, "big") + data)
            replies.clear()
            if post.transport.is_up and now_s - offer_s > _OFFER_EVERY_S:
                offer_s = now_s
                dated = msgspec.structs.asdict(now_dated(_TTL_MS))
                offer = DatedOffer(
                    id=offer_id,
                    name=named[0],
                    version=named[1],
                    bytes=size,
                    sha256=sha256,
                    chunk_bytes=CHUNK_BYTES,
                    who=who,
                    why=why,
                    **dated,
                )
                post.send(where["offer"], msgspec.json.encode(offer))
            has_told = _mind_silence(to, post.transport.state, now_s - heard_s, timeout_s, has_told=has_told)
    return 130


def _mind_silence(to: str, state: str, silent_s: float, timeout_s: float, *, has_told: bool) -> bool:
    """Say it when nobody answers, once, and give up in the end; whether it was said.

    Raises:
        TransportError: nobody answered for too long.
    """
    if silent_s > timeout_s:
        raise TransportError(f"{to}: no word for {timeout_s:g} s; {state}; is `edge models receive` running there?")
    if silent_s > _SILENCE_S and not has_told:
        typer.echo(f"no answer from {to} yet ({state}); is `edge models receive` running there?", err=True)
        return True
    return has_told
