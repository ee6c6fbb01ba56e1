"""The MQTT link against a real broker, and the packet reader against hostile bytes."""

import contextlib
import random
import selectors
import socket
import struct
import subprocess
import time

import paho.mqtt.client as paho
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.errors import TransportError
from edge.messages import Outgoing, RawMessage
from edge.transport.dial import Address, connect
from edge.transport.link import Handlers, Settings
from edge.transport.mqtt import MqttTransport
from edge.transport.packets import PacketSocket, publish_header, publish_prefix
from edge.transport.unacked import Unacked
from edge.transport.versions import Versions
from tests.broker import Mosquitto, free_port, needs_mosquitto

TIMEOUT_S = 20


class Link:
    """A transport on a selector loop of its own, driven from the test."""

    def __init__(self, port, subscriptions=(("in/+/x", 0),), **settings):
        self.messages, self.oversized, self.acked, self.downs = [], [], [], 0
        self.selector = selectors.DefaultSelector()
        address = settings.pop("address", Address("127.0.0.1", port, timeout_s=2.0))
        settings = {"retry_min_s": 0.05, "retry_max_s": 0.2, "availability_topic": "edge/test/availability", **settings}
        handlers = Handlers(self.messages.append, self.oversized.append, lambda: None, self._down, self.acked.append)
        client_id = f"test-{random.getrandbits(48):x}"
        self.transport = MqttTransport(Settings(address, client_id, **settings), subscriptions, handlers, self.selector, lambda: None)

    def _down(self):
        self.downs += 1

    def turn(self):
        self.transport.poll(time.monotonic_ns())
        for key, mask in self.selector.select(0.01):
            key.data(mask)
        self.transport.flush()

    def until(self, condition):
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < end, (self.transport.state, self.messages[-3:])
            self.turn()
        return self

    def up(self):
        return self.until(lambda: self.transport.is_up)

    def close(self):
        self.transport.close()
        self.selector.close()


@pytest.fixture
def link(broker):
    link = Link(broker.port).up()
    yield link
    link.close()


@pytest.fixture
def peer(broker):
    """A stranger on the same broker: plain paho."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.received = []
    client.on_message = lambda _client, _userdata, message: client.received.append(message)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


pytestmark = needs_mosquitto


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_is_published_arrives_once_and_in_order(broker, peer, qos):
    link = Link(broker.port, subscriptions=[("in/+/x", qos)]).up()
    for i in range(300):
        peer.publish("in/a/x", struct.pack("!I", i) * (i % 40), qos=qos)
    link.until(lambda: len(link.messages) == 300)
    assert [m.payload for m in link.messages] == [struct.pack("!I", i) * (i % 40) for i in range(300)]
    assert {m.topic for m in link.messages} == {"in/a/x"}
    stamps = [m.received_ns for m in link.messages]
    assert stamps == sorted(stamps)
    link.close()


def test_properties_of_a_v5_publish_are_skipped(link, peer):
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("k", "v" * 200)]
    properties.ContentType = "application/x"
    peer.publish("in/a/x", b"payload", properties=properties)
    link.until(lambda: link.messages)
    assert link.messages[0].payload == b"payload"


def test_a_broker_that_knows_only_3_1_1_is_spoken_to_in_3_1_1():
    fake = socket.create_server(("127.0.0.1", 0))
    link = Link(fake.getsockname()[1])
    fake.settimeout(TIMEOUT_S)
    seen = []
    while len(seen) < 2:
        link.turn()
        fake.settimeout(0.01)
        try:
            connection, _ = fake.accept()
        except TimeoutError:
            continue
        connection.settimeout(TIMEOUT_S)
        link.turn()
        packet = connection.recv(1000)
        seen.append(packet[8])
        if packet[8] == 5:
            connection.sendall(b"\x20\x02\x00\x01")  # CONNACK of 3.1.1: unacceptable protocol version
            connection.close()
            continue
        connection.sendall(b"\x20\x02\x00\x00")
        link.until(lambda connection=connection: _subscribed(connection, link))
    assert seen == [5, 4]
    link.up()
    assert "3.1.1" in link.transport.state
    connection.sendall(publish_header(12) + publish_prefix("in/a/x", is_v5=False) + b"data")
    link.until(lambda: link.messages)
    assert link.messages[0].payload == b"data"
    link.close()
    connection.close()
    fake.close()


def test_one_close_before_connack_does_not_change_the_version(broker):
    front = socket.create_server(("127.0.0.1", 0))
    front.settimeout(0.01)
    link = Link(front.getsockname()[1])
    first = None
    while first is None:  # a proxy whose broker is just restarting: accepts, and closes
        link.turn()
        with contextlib.suppress(TimeoutError):
            first, _ = front.accept()
    first.settimeout(TIMEOUT_S)
    link.turn()
    assert first.recv(1000)[8] == 5
    first.close()
    second = None
    while second is None:
        link.turn()
        with contextlib.suppress(TimeoutError):
            second, _ = front.accept()
    second.settimeout(TIMEOUT_S)
    link.turn()
    assert second.recv(1000)[8] == 5
    link.close()
    second.close()
    front.close()


def test_versions_fall_back_on_evidence_and_never_for_ever():
    def after(*events):
        versions = Versions()
        for event in events:
            getattr(versions, event)()
        return versions.is_v5

    assert after("closed")
    assert after("closed", "failed", "closed"), "not in a row"
    assert not after("closed", "closed")
    assert not after("refused")
    assert not after("refused", "failed"), "the broker said so"
    assert after("closed", "closed", "closed"), "3.1.1 was no better"
    assert after("refused", "lost")
    assert after("closed", "lost", "closed")


def _subscribed(connection, link, *, is_v5=False):
    connection.settimeout(0.01)
    try:
        packet = connection.recv(1000)
    except TimeoutError:
        return False
    connection.sendall(b"\x90\x04" + packet[2:4] + b"\x00\x00" if is_v5 else b"\x90\x03" + packet[2:4] + b"\x00")
    return True


def test_what_is_sent_arrives_with_expiry_and_unretained(link, peer):
    peer.subscribe("out/#", qos=1)
    time.sleep(0.2)
    assert link.transport.send(Outgoing("command", "out/c", b"go", ttl_ns=300_000_000))
    assert link.transport.send(Outgoing("prediction", "out/p", b"x" * 5000))
    token = link.transport.send_acked(Outgoing("alert", "out/a", b"alert"))
    link.until(lambda: len(peer.received) == 3 and link.acked == [token])
    by_topic = {m.topic: m for m in peer.received}
    assert by_topic["out/c"].properties.MessageExpiryInterval == 1
    assert by_topic["out/p"].payload == b"x" * 5000
    assert by_topic["out/a"].qos == 1
    assert not any(m.retain for m in peer.received)


def test_retained_copies_are_not_taken_for_new_input(broker, peer):
    peer.publish("in/a/x", b"old", retain=True, qos=1).wait_for_publish(5)
    link = Link(broker.port).up()
    peer.publish("in/a/x", b"new")
    link.until(lambda: link.messages)
    assert [m.payload for m in link.messages] == [b"new"]
    link.close()


def test_availability_is_online_then_stopped_then_offline_by_the_last_will(broker, peer):
    peer.subscribe("edge/test/availability", qos=1)
    link = Link(broker.port).up()
    link.until(lambda: [m.payload for m in peer.received] == [b"online"])
    link.close()
    link = Link(broker.port).up()
    link.until(lambda: [m.payload for m in peer.received] == [b"online", b"stopped", b"online"])
    link.selector.get_map()
    link.transport._socket.close()  # as if the process had died
    for _ in range(500):
        if peer.received[-1].payload == b"offline":
            break
        time.sleep(0.01)
    assert peer.received[-1].payload == b"offline"


def test_an_oversized_message_is_skipped_counted_and_what_follows_is_read(broker, peer):
    link = Link(broker.port, max_packet=2000).up()
    for size in (10, 10_000_000, 20, 1990, 2001, 70_000, 30):
        peer.publish("in/a/x", b"z" * size)
    link.until(lambda: link.messages and len(link.messages[-1].payload) == 30)
    assert [len(m.payload) for m in link.messages] == [10, 20, 1990, 30]
    assert link.oversized == ["in/a/x"] * 3
    link.close()


@pytest.mark.parametrize("qos", [1, 2])
def test_oversized_messages_are_acknowledged_so_that_the_broker_goes_on(broker, peer, qos):
    link = Link(broker.port, subscriptions=[("in/+/x", qos)], max_packet=2000).up()
    for _ in range(50):  # more than the broker keeps in flight
        peer.publish("in/a/x", b"z" * 3000, qos=qos)
    peer.publish("in/a/x", b"small", qos=qos)
    link.until(lambda: link.messages)
    assert link.oversized == ["in/a/x"] * 50
    assert [m.payload for m in link.messages] == [b"small"]
    link.close()


def test_a_goodbye_is_read_by_the_broker_even_when_input_waits_unread(broker, peer):
    peer.subscribe("edge/test/availability", qos=1)
    for _ in range(3):
        link = Link(broker.port).up()
        link.until(lambda: peer.received and peer.received[-1].payload == b"online")
        for _ in range(2000):
            peer.publish("in/a/x", b"x" * 500)
        time.sleep(0.2)  # the link does not read: a plain close would be a reset
        link.close()
        for _ in range(500):
            if peer.received[-1].payload != b"online":
                break
            time.sleep(0.01)
        time.sleep(0.2)
        assert peer.received[-1].payload == b"stopped"
    assert b"offline" not in [m.payload for m in peer.received]


def test_a_goodbye_to_a_frozen_broker_takes_a_bounded_time(broker):
    link = Link(broker.port).up()
    broker.pause()
    for _ in range(20_000):
        link.transport.send(Outgoing("prediction", "out/p", b"x" * 1000))
        link.transport.flush()
    began = time.monotonic()
    link.close()
    assert time.monotonic() - began < 5
    broker.resume()


def test_commands_are_withheld_while_the_broker_s_side_does_not_take_what_was_written():
    """As with a frozen broker, or a modem that lost its network: the kernel would take megabytes, and all of it would come too late."""
    fake = socket.socket()
    fake.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    fake.bind(("127.0.0.1", 0))
    fake.listen()
    link = Link(fake.getsockname()[1], availability_topic="")
    link.turn()
    connection, _ = fake.accept()
    connection.settimeout(TIMEOUT_S)
    time.sleep(0.1)
    link.turn()
    assert connection.recv(1000)[0] == 0x10
    connection.sendall(b"\x20\x03\x00\x00\x00")
    link.until(lambda: _subscribed(connection, link, is_v5=True))
    link.up()

    def send():
        taken = link.transport.send(Outgoing("command", "out/c", b"x" * 200, ttl_ns=50_000_000))
        link.transport.flush()
        time.sleep(0.001)
        return taken

    taken = [send() for _ in range(1500)]
    assert taken[0]
    assert not any(taken[-300:]), "the kernel's buffer is far from full, and still nothing more is taken"
    connection.setblocking(False)

    def recovered():
        with contextlib.suppress(BlockingIOError):
            while connection.recv(65536):
                pass
        return send()

    link.until(recovered)
    link.close()
    connection.close()
    fake.close()


def test_a_peer_that_acknowledges_late_by_habit_is_no_stall(link):
    for _ in range(12):  # alone, a segment is acknowledged after up to 40 ms: longer than this command lives
        assert link.transport.send(Outgoing("command", "out/c", b"go", ttl_ns=10_000_000))
        link.transport.flush()
        time.sleep(0.025)
        assert link.transport.send(Outgoing("command", "out/c", b"go", ttl_ns=10_000_000))
        link.transport.flush()
        time.sleep(0.05)


def test_what_is_written_has_the_age_of_its_oldest_unacknowledged_byte():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    unacked = Unacked(ours)
    assert unacked.age_ns(time.monotonic_ns()) == 0
    began = time.monotonic_ns()
    for _ in range(3000):  # more marks than are kept
        unacked.wrote(ours.send(b"x" * 100))
        unacked._marks[-1] = (unacked._marks[-1][0], unacked._marks[-1][1] - 20_000_000)  # as if time had passed
    assert unacked.age_ns(time.monotonic_ns()) >= 20_000_000
    assert len(unacked._marks) <= 1024
    assert unacked._marks[0][1] <= began
    while unacked.age_ns(time.monotonic_ns()):
        theirs.recv(65536)  # what is read makes room, and then all of it is acknowledged
    assert not unacked._marks
    ours.close()
    theirs.close()


def test_the_link_comes_back_by_itself_and_subscribes_again(broker, tmp_path):
    link = Link(broker.port).up()
    for n in range(1, 4):
        broker.kill()
        link.until(lambda n=n: link.downs == n)
        assert not link.transport.send(Outgoing("command", "out/c", b"go"))
        assert link.transport.send_acked(Outgoing("alert", "out/a", b"go")) is None
        broker.start()
        link.up()
    subprocess.run(["mosquitto_pub", "-p", str(broker.port), "-t", "in/a/x", "-m", "again"], check=True, timeout=10)
    link.until(lambda: link.messages)
    assert link.transport.connects == 4
    link.close()


def test_a_broker_that_is_absent_at_start_is_waited_for(tmp_path):
    broker = Mosquitto(tmp_path)
    link = Link(broker.port)
    link.until(lambda: "refused" in link.transport.state.lower())
    assert not link.transport.is_up
    broker.start()
    link.up().close()
    broker.close()


def test_a_frozen_broker_is_noticed_by_its_silence(broker):
    link = Link(broker.port, keepalive_s=1).up()
    broker.pause()
    link.until(lambda: link.downs == 1)
    assert "silent" in link.transport.state
    broker.resume()
    link.up().close()


def test_a_peer_that_accepts_and_says_nothing_is_given_up():
    deaf = socket.create_server(("127.0.0.1", 0))
    link = Link(0, address=Address("127.0.0.1", deaf.getsockname()[1], timeout_s=0.3))
    link.until(lambda: "CONNACK" in link.transport.state)
    link.close()
    deaf.close()


def test_a_wrong_password_is_said_in_one_line_and_tried_again(tmp_path):
    (tmp_path / "acl").write_text("")
    subprocess.run(["mosquitto_passwd", "-b", "-c", tmp_path / "passwords", "edge", "right"], check=True, timeout=20)
    broker = Mosquitto(tmp_path, f"allow_anonymous false\npassword_file {tmp_path / 'passwords'}").start()
    wrong = Link(broker.port, username="edge", password="wrong")
    wrong.until(lambda: "authori" in wrong.transport.state.lower() or "password" in wrong.transport.state.lower())
    assert wrong.transport.connects == 0
    wrong.close()
    Link(broker.port, username="edge", password="right").up().close()
    broker.close()


# -- the packet reader ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def pair(max_packet=4096, *, is_v5=True):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    got = {"publish": [], "oversized": [], "control": 0}

    def control():
        got["control"] += 1
        while True:
            try:
                reader.recv(65536)
            except BlockingIOError:
                return

    reader = PacketSocket(
        ours,
        max_packet,
        is_v5=is_v5,
        on_publish=lambda *a: got["publish"].append(a),
        on_oversized=got["oversized"].append,
        on_control=control,
    )
    try:
        yield reader, theirs, got
    finally:  # also when hypothesis gives up an example half-way
        reader.close()
        theirs.close()


def publish(topic, payload, *, is_v5=True):
    prefix = publish_prefix(topic, is_v5=is_v5)
    return publish_header(len(prefix) + len(payload)) + prefix + payload


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 9000), max_size=12), st.randoms(use_true_random=False), st.booleans())
def test_packets_are_found_however_the_stream_is_cut(sizes, rng, is_v5):
    with pair(is_v5=is_v5) as (reader, theirs, got):
        stream = b"".join(publish(f"t/{i}", bytes([i]) * size, is_v5=is_v5) + b"\xd0\x00" for i, size in enumerate(sizes))
        while stream:
            cut = rng.randint(1, 3000)
            theirs.sendall(stream[:cut])
            stream = stream[cut:]
            reader.read()
        while sum(map(len, (got["publish"], got["oversized"]))) < len(sizes) or got["control"] < len(sizes):
            reader.read()
        fits = [i for i, size in enumerate(sizes) if size + len(f"t/{i}") + 2 + is_v5 <= 4096]
        assert [(t, len(p)) for t, p, _ in got["publish"]] == [(f"t/{i}", sizes[i]) for i in fits]
        assert got["oversized"] == [f"t/{i}" for i in range(len(sizes)) if i not in fits]


@settings(deadline=None, max_examples=300)
@given(st.binary(min_size=1, max_size=300), st.booleans())
def test_random_bytes_end_the_connection_or_carry_on(data, is_v5):
    with pair(256, is_v5=is_v5) as (reader, theirs, _):
        theirs.sendall(data)
        try:
            for _ in range(3):
                reader.read()
        except (TransportError, OSError):
            pass


@pytest.mark.parametrize(
    "packet",
    [
        b"\x30\xff\xff\xff\xff\x01",  # a length of five bytes
        b"\x20\xff\xff\xff\x7f",  # a huge CONNACK
        b"\x30\x03\x00\x09a",  # a topic longer than the packet
        b"\x30\x01\x00",  # no topic length
        b"\x30\x04\x00\x01a\x05",  # properties longer than the packet
        b"\x30\x04\x00\x01\xff\x00",  # a topic that is not UTF-8
    ],
)
def test_lengths_that_lie_are_refused(packet):
    with pair() as (reader, theirs, got):
        theirs.sendall(packet)
        with pytest.raises(TransportError):
            reader.read()
        assert got["publish"] == []


def test_a_peer_that_never_reads_costs_bounded_memory():
    with pair() as (reader, theirs, _):
        for _ in range(10_000):
            if reader.is_stalled and reader.backlog > 65_536:
                break
            reader.queue(b"x" * 1000)
            reader.flush()
        assert reader.is_stalled
        while reader.backlog:
            theirs.recv(1 << 20)
            reader.flush()
        assert not reader.is_stalled


def test_an_address_nobody_listens_on_is_one_clear_line():
    with pytest.raises(TransportError, match=r"mqtt://127\.0\.0\.1:\d+: .*refused"):
        connect(Address("127.0.0.1", free_port()))


def test_a_ca_file_that_is_missing_is_said():
    with pytest.raises(TransportError, match=r"nowhere\.pem is not a file"):
        connect(Address("127.0.0.1", 8883, is_tls=True, ca_file="/nowhere.pem"))


def test_raw_messages_say_when_they_were_read(link, peer):
    before = time.monotonic_ns()
    peer.publish("in/a/x", b"1")
    link.until(lambda: link.messages)
    assert before < link.messages[0].received_ns <= time.monotonic_ns()
    assert isinstance(link.messages[0], RawMessage)


def test_an_alert_that_gets_the_token_of_our_own_message_is_acknowledged(link):
    link.until(lambda: link.transport._announced == -1)
    announced = 1 if link.transport._subscriptions == [] else 2
    link.transport._client._last_mid = announced - 1  # as after 65,535 more
    token = link.transport.send_acked(Outgoing("alert", "out/a", b"x"))
    assert token == announced
    link.until(lambda: link.acked == [token])


def test_a_command_that_the_kernel_does_not_take_is_not_kept_for_later():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    packets = PacketSocket(ours, 4096, is_v5=True, on_publish=lambda *_: None, on_oversized=lambda _: None, on_control=lambda: None)
    assert packets.send_now(b"first")
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(b"p" * 500)
    assert not packets.is_stalled, "it finds out by itself"
    assert not packets.send_now(b"COMMAND")
    assert packets.backlog == 0
    packets.queue(b"prediction")
    assert not packets.send_now(b"COMMAND"), "what waits goes first"
    came = b""
    with contextlib.suppress(BlockingIOError):
        while data := theirs.recv(65536):
            came += data
    assert packets.send_now(b"later")
    came += theirs.recv(65536)
    assert came.endswith(b"predictionlater")
    assert b"COMMAND" not in came
    ours.close()
    theirs.close()
