"""Installs over a real broker when things go wrong: two at once, pieces that are lost or altered, a full disk, orders of another time."""

import contextlib
import hashlib
import io
import json
import random
import secrets
import subprocess
import sys
import time
import zlib

import pytest

from edge.cli.models.receive import Receiver
from edge.cli.models.send import pack
from edge.inference.bundle import load_bundle
from edge.messages import RawMessage
from edge.store.registry import Registry
from tests.broker import needs_mosquitto
from tests.integration.test_model_install import WAIT_S, Device, Station, big, sender, wait
from tests.unit.registry_bundles import NAME, bundle, unproved

pytestmark = [needs_mosquitto, pytest.mark.timeout(240)]
CHUNK = 1024


@pytest.fixture
def registry(tmp_path):
    made = Registry(tmp_path / "device" / NAME, proof=unproved)
    made.install(bundle(tmp_path / "first", "1.0.0"), "test")
    return made


@pytest.fixture
def device(tmp_path, broker, registry):
    made = Device(registry.folder, broker.url, tmp_path / "device.log")
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait(10)


class HandSender(Station):
    """A sender whose every message is chosen by the test."""

    def __init__(self, broker, version):
        super().__init__(broker)
        archive = io.BytesIO()
        self.name, self.version = pack(version, archive)
        self.data = archive.getvalue()
        self.id = secrets.token_hex(8)
        self.client.subscribe("edge/device-1/models/install/reply/+", 1)

    def offer(self, *, age_s=0.0, retain=False, **more):
        offer = {
            "id": self.id,
            "name": self.name,
            "version": self.version,
            "bytes": len(self.data),
            "sha256": hashlib.sha256(self.data).hexdigest(),
            "chunk_bytes": CHUNK,
            "who": "hand",
            "why": "a test",
            "issued_ns": time.time_ns() - int(age_s * 1e9),
            "ttl_ms": 30_000,
        }
        self.client.publish("edge/device-1/models/install/offer", json.dumps(offer | more), qos=1, retain=retain)

    def piece(self, number, *, data=None, crc=None, retain=False):
        data = self.data[number * CHUNK : (number + 1) * CHUNK] if data is None else data
        crc = zlib.crc32(data) if crc is None else crc
        payload = number.to_bytes(4, "big") + crc.to_bytes(4, "big") + data
        self.client.publish(f"edge/device-1/models/install/piece/{self.id}", payload, qos=1, retain=retain)

    def replies(self, state):
        return [heard for heard in list(self.heard) if heard.get("id") == self.id and heard.get("state") == state]

    def serve(self, how, until):
        """Send what is asked for, each list of wanted pieces by ``how``, until there is a reply with this state."""
        seen, end = 0, time.monotonic() + WAIT_S
        while not self.replies(until):
            assert time.monotonic() < end, self.heard[-5:]
            wanted = self.replies("want")
            for reply in wanted[seen:]:
                how(reply["pieces"])
            seen = len(wanted)
            time.sleep(0.02)
        return self.replies(until)[0]


@pytest.fixture
def hand(tmp_path, broker):
    made = HandSender(broker, bundle(tmp_path / "new", "2.0.0"))
    yield made
    made.close()


def is_untouched(registry):
    return registry.versions() == ["1.0.0"] and registry.state().active == "1.0.0" and not list((registry.folder / ".incoming").glob("*"))


def test_pieces_that_are_lost_altered_repeated_and_out_of_order_become_the_whole_bundle(hand, device, registry):
    rng = random.Random(3)
    first = set()

    def badly(pieces):
        pieces = rng.sample(pieces, len(pieces))
        for number in pieces:
            if number not in first and rng.random() < 0.3:
                first.add(number)  # lost
                continue
            if number not in first and rng.random() < 0.3:
                first.add(number)
                hand.piece(number, crc=1)  # altered on its way
                hand.piece(number, data=b"short")
                continue
            hand.piece(number)
            hand.piece(number)
        hand.piece(10_000)  # beyond the end
        hand.piece(2**32 - 1)

    hand.offer()
    hand.serve(badly, "installed")
    assert len(first) > 2
    assert load_bundle(registry.folder, "2.0.0").manifest.version == "2.0.0"
    assert registry.history()[-1].why == "a test"


def test_an_archive_that_is_not_what_was_offered_is_thrown_away(hand, device, registry):
    hand.offer(sha256="0" * 64)
    refused = hand.serve(lambda pieces: [hand.piece(number) for number in pieces], "refused")
    assert "sha256" in refused["error"]
    assert is_untouched(registry)
    # The same bytes with the right hash, and one piece that is altered with a CRC that agrees.
    hand.id = secrets.token_hex(8)
    hand.offer()

    def forged(pieces):
        for number in pieces:
            data = hand.data[number * CHUNK : (number + 1) * CHUNK]
            hand.piece(number, data=bytes([data[0] ^ 1]) + data[1:] if number == 1 else data)

    assert "sha256" in hand.serve(forged, "refused")["error"]
    assert is_untouched(registry)


def test_offers_that_are_old_or_of_the_future_are_refused(hand, device, registry):
    for age_s in (3600, -3600):
        hand.id = secrets.token_hex(8)
        hand.offer(age_s=age_s)
        assert "check the clocks" in hand.serve(lambda pieces: None, "refused")["error"]
    assert is_untouched(registry)


def test_what_the_broker_kept_is_not_obeyed(tmp_path, broker, registry, hand):
    registry.install(bundle(tmp_path / "other", "1.1.0"), "test")
    station = Station(broker)
    try:
        station.order("activate", version="1.1.0", retain=True)
        hand.offer(retain=True)
        hand.piece(0, retain=True)
        time.sleep(0.3)  # the broker has them before the device comes
        device = Device(registry.folder, broker.url, tmp_path / "late.log")
        try:
            assert station.answer(station.order("list"))["state"]["active"] == "1.0.0"
            assert "was issued -3600" in station.answer(station.order("activate", version="1.1.0", age_s=-3600))["error"]
            assert registry.state().active == "1.0.0"
            assert not hand.replies("want")
            assert not (registry.folder / ".incoming").exists()
        finally:
            assert device.stop() == 0
    finally:
        station.close()


def test_a_retained_message_is_refused_also_where_a_broker_sends_it(registry, caplog):
    """MQTT 5 brokers are asked not to send what they keep; others do."""
    receiver = Receiver(registry, "device-1")
    order = {"id": "0" * 16, "what": "remove", "version": "1.0.0", "who": "x", "issued_ns": time.time_ns(), "ttl_ms": 30_000}
    for topic in ("control", "install/offer", "install/piece/" + "0" * 16):
        receiver.take(RawMessage(f"edge/device-1/models/{topic}", json.dumps(order).encode(), 1, True))
    receiver.close()
    assert caplog.text.count("is retained, and of unknown age") == 3
    assert [entry.what for entry in registry.history()] == ["install"]


def test_an_offer_that_comes_when_its_install_is_over_is_told_how_it_ended_and_leaves_nothing(hand, device, registry):
    hand.offer()
    hand.serve(lambda pieces: [hand.piece(number) for number in pieces], "installed")
    for _ in range(3):
        hand.offer()
    wait(lambda: len(hand.replies("installed")) == 4)
    assert not list((registry.folder / ".incoming").iterdir())


def test_two_senders_at_once_bring_two_versions(tmp_path, broker, device, registry):
    both = [sender(big(tmp_path / f"new-{version}", version, 2), broker.url) for version in ("2.0.0", "3.0.0")]
    try:
        for sending in both:
            _, err = sending.communicate(timeout=WAIT_S * 2)
            assert sending.returncode == 0, err
        assert registry.versions() == ["1.0.0", "2.0.0", "3.0.0"]
        for version in ("2.0.0", "3.0.0"):
            load_bundle(registry.folder, version)
        assert registry.state().active == "1.0.0"
        assert not list((registry.folder / ".incoming").iterdir())  # nor of an offer that was on its way when the install ended
    finally:
        for sending in both:
            sending.kill()
            sending.communicate(timeout=WAIT_S)


def test_two_senders_of_the_same_version_both_hear_how_it_ended(tmp_path, broker, device, registry):
    version = big(tmp_path / "new", "2.0.0", 2)
    both = [sender(version, broker.url) for _ in range(2)]
    try:
        for sending in both:
            out, err = sending.communicate(timeout=WAIT_S * 2)
            assert sending.returncode == 0, err
            assert "2.0.0 is installed" in out
        assert [entry.what for entry in registry.history()].count("install") == 2  # 1.0.0, and 2.0.0 once
    finally:
        for sending in both:
            sending.kill()
            sending.communicate(timeout=WAIT_S)


def test_half_an_upload_of_a_sender_that_does_not_come_back_is_thrown_away(tmp_path, broker, device, registry, hand):
    hand.offer()
    wait(lambda: hand.replies("want"))
    hand.piece(0)
    wait(lambda: any(path.read_bytes().count(b"\n") > 1 for path in (registry.folder / ".incoming").glob("*/journal")))
    assert device.stop() == 0
    later = Device(registry.folder, broker.url, tmp_path / "later.log", "--expire", "86400")
    assert later.stop() == 0
    assert list((registry.folder / ".incoming").iterdir())  # not yet
    time.sleep(1.1)
    last = Device(registry.folder, broker.url, tmp_path / "last.log", "--expire", "1")
    try:
        wait(lambda: not list((registry.folder / ".incoming").iterdir()))
        assert "thrown away" in last.log.read_text()
        hand.offer()  # and it may come again
        hand.serve(lambda pieces: [hand.piece(number) for number in pieces], "installed")
    finally:
        assert last.stop() == 0


@contextlib.contextmanager
def small_disk(folder, mib):
    folder.mkdir(parents=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"needs a small tmpfs: run as root, in a container with --cap-add SYS_ADMIN ({made.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_full_or_becomes_full_leaves_the_registry_as_it_was(tmp_path, broker):
    home = tmp_path / "disk"
    with small_disk(home, 24):
        registry = Registry(home / NAME, proof=unproved)
        registry.install(bundle(tmp_path / "first", "1.0.0"), "test")
        device = Device(registry.folder, broker.url, tmp_path / "device.log")
        try:
            sending = sender(big(tmp_path / "large", "2.0.0", 9), broker.url)
            _, err = sending.communicate(timeout=WAIT_S)
            assert (sending.returncode, "no room" in err) == (3, True), err
            assert is_untouched(registry)

            hand = HandSender(broker, big(tmp_path / "fits", "3.0.0", 2))
            hand.offer()
            filler = home / "filler"

            def fill(pieces):
                for number in pieces[:8]:
                    hand.piece(number)
                if not filler.exists():
                    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as out:
                        while True:
                            out.write(bytes(4096))

            refused = hand.serve(fill, "refused")
            assert "No space left" in refused["error"] or "no room" in refused["error"]
            wait(lambda: is_untouched(registry))
            filler.unlink()
            hand.id = secrets.token_hex(8)
            hand.offer()
            hand.serve(lambda pieces: [hand.piece(number) for number in pieces], "installed")
            hand.close()
            assert registry.versions() == ["1.0.0", "3.0.0"]
        finally:
            assert device.stop() == 0, device.log.read_text()


def test_two_installs_at_once_from_two_processes(tmp_path, registry):
    sources = [bundle(tmp_path / "a", "2.0.0"), bundle(tmp_path / "b", "3.0.0"), bundle(tmp_path / "c", "2.0.0")]
    command = [sys.executable, "-m", "edge", "models", "install", "--registry", str(registry.folder)]
    running = [subprocess.Popen([*command, source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for source in sources]
    for process in running:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert registry.versions() == ["1.0.0", "2.0.0", "3.0.0"]
    entries = registry.history()
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    assert sorted(entry.version for entry in entries) == ["1.0.0", "2.0.0", "3.0.0"]
    assert registry.state().active == "1.0.0"
    assert sorted(path.name for path in registry.folder.iterdir() if path.is_dir() and not path.name.startswith(".")) == registry.versions()
