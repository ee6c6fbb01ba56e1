"""Faults of the broker itself: it says nothing, says nonsense, or says no."""

import subprocess
import time

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge.store.outbox_file import GIVEN_UP, OutboxFile
from tests.broker import needs_mosquitto
from tests.system.faults.site import until
from tests.system.faults.stub import Stub, attempts_per_s, publish
from tests.system.faults.tools import BROKER, QUICK, rss_mb

pytestmark = [needs_mosquitto, pytest.mark.timeout(240)]
EAGER = QUICK.replace("retry_max_s = 0.5", "retry_max_s = 0.1")
NAMED = QUICK.replace(BROKER, f'{BROKER}\nusername = "edge"\npassword = "right"')
# Each of them ends the connection, or is passed over; none is believed.
VECTORS = [
    b"\x30\xff\xff\xff\xff\x01",  # a length of five bytes
    b"\x30\xff\xff",  # a length that is cut, and then nothing but silence and another packet's bytes
    b"\x00\x00",  # type 0, reserved
    b"\xf0\x00",  # AUTH, which nobody began
    b"\x20\x03\x00\x00\x00",  # CONNACK again
    b"\x10\x02\x00\x00",  # CONNECT from a broker
    b"\x82\x02\x00\x01",  # SUBSCRIBE from a broker
    b"\xc0\x00",  # PINGREQ from a broker
    b"\x90\x00",  # SUBACK of nothing
    b"\x40\x01\x00",  # PUBACK that is cut
    b"\x40\x02\xff\xff",  # PUBACK of what was never sent
    b"\x62\x00",  # PUBREL without a number
    b"\x36\x03\x00\x01a",  # a PUBLISH of QoS 3
    b"\x32\x04\x00\x01a\x00",  # QoS 1 without a number
    b"\x30\x01\x00",  # no topic
    b"\x30\x05\x00\x09abc",  # a topic longer than the packet
    b"\x30\x05\x00\x01a\x7f\x00",  # properties longer than the packet
    publish(b"d/\xff\xfe/s", b'{"x": 1}'),  # a topic that is not UTF-8
    publish("", b'{"x": 1}'),  # an alias that was never told
    b"\x20\xff\xff\xff\x7f",  # a CONNACK of 256 MB
    b"\xe0\x00",  # goodbye, normal
    b"\xe0\x02\x8e\x00",  # taken over, it says
    b"\xe0\x01\xff",  # goodbye for a reason that does not exist
    bytes(range(256)) * 8,
]


class Led:
    """Leads the daemon to a stub while it is open."""

    def __init__(self, one, stub):
        self.one, self.stub = one, stub

    def __enter__(self):
        self.one.proxy.lead_to(self.stub.port)
        return self.stub

    def __exit__(self, *_):
        self.one.proxy.lead_to(self.one.broker.port)
        self.stub.close()


@pytest.mark.fault("link", "TCP is accepted, CONNACK never comes", "given up after connect_timeout_s; tried again, not in a loop")
def test_no_connack(site, seen):
    one = site(text=QUICK, proxied=True)
    with Led(one, Stub(vectors=None)) as stub:
        one.until_said("no CONNACK in time")
        seen["attempts/s"] = attempts_per_s(stub, 4)
    assert 0 < seen["attempts/s"] < 1, "a second for CONNACK, and half a second at most until the next"
    seen["recovered, s"] = one.until_working()
    one.settle()
    one.judge(seen)


@pytest.mark.fault("link", "24 malformed or impossible packets from the broker", "it ends or goes on; nothing is believed, nothing dies")
def test_malformed_packets(site, seen):
    one = site(text=EAGER, proxied=True)
    before = rss_mb(one.edge.process.pid)
    unrouted = one.status()["unrouted"]
    with Led(one, Stub([[vector] for vector in VECTORS])) as stub:
        for n in range(1, len(VECTORS) + 1):
            until(lambda n=n: stub.served >= n, lambda: one.said()[-2000:])
            until_ended(stub, n, 0.3)
            one.proxy.cut()
    seen["recovered, s"] = one.until_working()
    seen["packets"], seen["connections ended by us"] = len(VECTORS), stub.ended
    seen["RSS, MB more"] = rss_mb(one.edge.process.pid) - before
    one.settle()
    status = one.status()
    assert status["faults"] == 0
    assert "Traceback" not in one.said()
    assert seen["RSS, MB more"] < 16
    assert status["unrouted"] - unrouted <= 1, "only the one without a topic is a packet"
    assert not any(status["streams"]["s"]["invalid"].values())
    one.judge(seen)


def until_ended(stub, n, patience_s):
    """Gives the other side a moment to end the n-th connection by itself."""
    end = time.monotonic() + patience_s
    while stub.ended < n and time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.fault("link", "a PUBLISH of 200 MB on a topic of ours", "passed over unread, memory stays; what follows it is read")
def test_publish_of_200_mb(site, seen):
    one = site(text=QUICK, proxied=True)
    refused = one.status()["streams"]["s"]["invalid"].get("too_large", 0)
    before = rss_mb(one.edge.process.pid, "VmHWM")
    size, chunk = 200_000_000, b" " * 1_000_000
    head = publish("d/a/s", announced=size)
    rest = size - (len(head) - 5)
    vector = [head, *[chunk] * (rest // len(chunk)), chunk[: rest % len(chunk)], publish("d/b/s", b'{"x": 0, "seq": 1}'), publish("x", b"")]
    unrouted = one.status()["unrouted"]
    with Led(one, Stub([vector])) as stub:
        until(lambda: stub.served, one.said)
        time.sleep(0.3)
    seen["recovered, s"] = one.until_working()
    seen["RSS, MB more at most"] = rss_mb(one.edge.process.pid, "VmHWM") - before
    status = one.status()
    assert status["streams"]["s"]["invalid"]["too_large"] == refused + 1
    assert status["unrouted"] == unrouted + 1, "the packet after it"
    assert seen["RSS, MB more at most"] < 16
    one.settle()
    one.judge(seen)


def restart(one, change):
    """Another broker in its place, while nobody but the daemon may miss anything; what was acknowledged before has arrived."""
    one.proxy.close()
    time.sleep(0.3)
    one.broker.kill()
    change()
    one.broker.start()
    one.until_heard()
    one.proxy.open()


def configure(one, lines):
    """The broker with other rights, from now on."""
    conf = one.broker._conf
    text = conf.read_text().replace("allow_anonymous true", "allow_anonymous true\n" + lines)
    # With max_queued_messages 0, Mosquitto 2.0.11 ends the connection of whoever it denies something.
    restart(one, lambda: conf.write_text(text.replace("max_queued_messages 0", "max_queued_messages 100000")))


def give_password(broker, password):
    """What the user edge must know from now on."""
    file = broker._conf.parent / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", *([] if file.exists() else ["-c"]), file, "edge", password], check=True, timeout=20)
    file.chmod(0o600)
    return file


@pytest.mark.fault("link", "the broker knows another password", "refused, and said why; no busy loop; works once the password is right")
def test_wrong_password(site, broker, seen):
    one = site(text=NAMED, proxied=True)
    configure(one, f"password_file {give_password(broker, 'other')}")
    one.until_said("the broker refuses: Not authorized")
    before, began = one.proxy.connections, time.monotonic()
    time.sleep(2)
    seen["attempts/s"] = (one.proxy.connections - before) / (time.monotonic() - began)
    assert seen["attempts/s"] <= 5
    assert one.said().count("the broker refuses") == 1, "said once, not at every attempt"
    restart(one, lambda: give_password(broker, "right"))
    seen["recovered, s"] = one.until_working()
    one.settle()
    one.judge(seen)


@pytest.mark.fault("link", "the broker denies every subscription", "said for each; the stream is silent, actuators are safe; no busy loop")
def test_subscriptions_denied(site, seen):
    one = site(text=QUICK, proxied=True)
    with Led(one, Stub(suback=0x87)) as stub:
        one.until_said("the broker denies the subscription to d/+/s: Not authorized")
        one.until_said("stream s: silent")
        seen["attempts/s"] = attempts_per_s(stub, 2)
        assert seen["attempts/s"] < 2
    seen["recovered, s"] = one.until_working()
    assert one.commands()
    one.settle()
    one.judge(seen)


@pytest.mark.fault("link", "the broker denies publishing of alerts", "they are kept and sent again, and arrive once it is permitted")
def test_alerts_denied(site, broker, seen):
    one = site(text=NAMED, proxied=True)
    file = broker._conf.parent / "acl"
    file.write_text("topic readwrite #\nuser edge\ntopic read d/#\ntopic write d/+/cmd/#\ntopic readwrite edge/#\n")
    configure(one, f"password_file {give_password(broker, 'right')}\nacl_file {file}")
    one.until_said("d/a/alerts: Not authorized")
    until(lambda: one.health()["helpers"]["outbox"]["state"] == "denied", lambda: str(one.health()))
    until(lambda: "outbox.denied" in {alert["name"] for alert in one.peer.json("guard/alerts")}, "no alert of it")
    (word,) = [alert for alert in one.peer.json("guard/alerts") if alert["name"] == "outbox.denied"]
    assert word["detail"] == "the broker refuses alerts on d/a/alerts (Not authorized)"
    until(lambda: one.status()["alerts"]["waiting"] > 5, lambda: str(one.status()["alerts"]))
    seen["waited"] = one.status()["alerts"]["waiting"]
    restart(one, lambda: file.write_text("topic readwrite #\nuser edge\ntopic readwrite #\n"))
    seen["recovered, s"] = one.until_working()
    one.settle()
    assert one.health()["helpers"]["outbox"]["state"] == "ok"
    one.judge(seen)


@pytest.mark.fault(
    "link",
    "alerts denied until the outbox is full, killed meanwhile",
    "the oldest give way; their number is told and outlives the kill",
)
def test_alerts_denied_until_there_is_no_room(site, broker, seen):
    one = site(text=NAMED.replace("[outbox]", "[outbox]\nmax_alerts = 20"), proxied=True)
    file = broker._conf.parent / "acl"
    rights = "topic readwrite #\nuser edge\ntopic read d/#\ntopic write d/+/cmd/#\n"
    file.write_text(f"{rights}topic readwrite edge/guard/status\ntopic readwrite edge/guard/health\ntopic write edge/guard/availability\n")
    configure(one, f"password_file {give_password(broker, 'right')}\nacl_file {file}")

    def until_given_up(more):
        boot = one.boot()
        until(lambda: (last := one.status())["boot_id"] == boot and last["alerts"]["evicted"] > more, lambda: str(one.status()))

    until_given_up(10)
    one.kill()
    one.start()
    until_given_up(15)  # longer than a second after the first of them was told
    one.sensor.close()
    one.sensor = None
    told = lambda: [word["value"] for word in one.peer.json("guard/alerts") if word["name"] == "outbox.evicted"]  # noqa: E731
    heard = len(told())
    restart(one, lambda: file.write_text("topic readwrite #\nuser edge\ntopic readwrite #\n"))
    until(lambda: len(told()) > heard + 1, lambda: str(told()))
    one.settle()
    file = OutboxFile(one.folder / "alerts.db", "process")
    total = file.totals()[GIVEN_UP]
    file.close()
    seen["given up"], seen["told of"], seen["missing"] = total, told()[-1], missing(one)
    assert seen["told of"] == total > 20
    assert seen["missing"] <= total


def missing(one):
    """How many alerts did not arrive, as far as later ones of their run did."""
    numbers = {}
    for alert in one.alerts():
        boot, _, number = alert["id"].partition("-a")
        numbers.setdefault(boot, set()).add(int(number))
    return sum(max(found) - len(found) for found in numbers.values())


@pytest.mark.fault("link", "a stranger takes over our client id again and again", "no storm of connections; alerts arrive in the end")
def test_client_id_taken_over(site, broker, seen):
    one = site(text=QUICK.replace(BROKER, f'{BROKER}\nclient_id = "guard-1"'))
    stranger = paho.Client(CallbackAPIVersion.VERSION2, "guard-1", protocol=paho.MQTTv5)
    stranger.reconnect_delay_set(0.05, 0.05)
    stranger.connect("127.0.0.1", broker.port)
    stranger.loop_start()
    try:
        one.until_said("not connected to")  # Mosquitto 2.0.11 does not say why
        before, began = one.said().count("connected to mqtt"), time.monotonic()
        time.sleep(4)
        seen["lines in the log/s"] = (one.said().count("connected to mqtt") - before) / (time.monotonic() - began)
        assert seen["lines in the log/s"] <= 10
    finally:
        stranger.disconnect()
        stranger.loop_stop()
    seen["recovered, s"] = one.until_working()
    seen["connections"] = one.status()["link"]["connects"]
    one.settle()
    one.judge(seen)


@pytest.mark.fault("link", "no broker when the daemon starts", "in good health, says so once, and works as soon as there is one")
def test_broker_absent_at_start(site, seen):
    one = site(text=QUICK, proxied=True)
    one.kill()
    one.proxy.close()
    one.start()
    one.until_said("Connection refused")
    until(lambda: one.edge.noted("") or sum("WATCHDOG=1" in note for _, note in one.edge.notes) >= 3, "the watchdog is not fed")
    assert one.edge.log.read_text().count("Connection refused") == 1
    one.proxy.open()
    seen["recovered, s"] = one.until_working()
    one.settle()
    one.judge(seen)
