"""TLS with real certificates: who is trusted, who is not, and what is said then."""

import contextlib
import datetime
import re
import select
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest
import trustme

from edge.messages import Outgoing
from edge.transport.dial import Address
from edge.transport.packets import PacketSocket
from tests.broker import Mosquitto, needs_mosquitto
from tests.integration.test_transport import Link

pytestmark = needs_mosquitto


class Authority:
    def __init__(self, folder):
        self.ca, self.folder = trustme.CA(), folder
        self.pem = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(self.pem)

    def issue(self, name, *identities, **options):
        cert = self.ca.issue_cert(*identities, **options)
        crt, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        cert.cert_chain_pems[0].write_to_path(crt)
        cert.private_key_pem.write_to_path(key)
        return crt, key


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def serve(tmp_path, authority):
    """Starts brokers that end with the test."""
    running = []

    def start(*identities, listener="", is_tls=True, **options):
        if is_tls:
            crt, key = authority.issue("server", *(identities or ("127.0.0.1",)), **options)
            listener = f"cafile {authority.pem}\ncertfile {crt}\nkeyfile {key}\n{listener}"
        running.append(Mosquitto(tmp_path, listener=listener).start())
        return running[-1]

    yield start
    for broker in running:
        broker.close()


def link_to(broker, authority, **options):
    return Link(0, address=Address("127.0.0.1", broker.port, True, str(authority.pem), timeout_s=3.0, **options))


def test_a_trusted_broker_is_spoken_to(serve, authority):
    broker = serve()
    link = link_to(broker, authority).up()
    assert link.transport.state.startswith("connected to mqtts://")
    other = Link(0, address=Address("127.0.0.1", broker.port, True, str(authority.pem)), subscriptions=[]).up()
    for i in range(200):
        other.transport.send(Outgoing("prediction", "in/a/x", bytes([i]) * 3000))
        other.turn()
    link.until(lambda: len(link.messages) == 200)
    assert [m.payload[0] for m in link.messages] == list(range(200))
    other.close()
    link.close()


def test_a_client_certificate_is_shown(serve, authority):
    broker = serve(listener="require_certificate true")
    without = link_to(broker, authority)
    without.until(lambda: "not connected" in without.transport.state and without.transport.last_error)
    assert not without.transport.connects
    without.close()
    crt, key = authority.issue("client", "edge-device")
    link_to(broker, authority, cert_file=str(crt), key_file=str(key)).up().close()


@pytest.mark.parametrize(
    ("case", "says"),
    [("wrong host", "IP address mismatch"), ("unknown authority", "self-signed|local issuer"), ("expired", "expired")],
)
def test_a_broker_that_cannot_prove_itself_is_refused_with_the_reason(tmp_path, serve, authority, case, says):
    identities, options, trusted = ["127.0.0.1"], {}, authority
    if case == "wrong host":
        identities = ["10.1.2.3"]
    elif case == "expired":
        past = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
        options = {"not_after": past, "not_before": past - datetime.timedelta(days=300)}
    else:
        folder = tmp_path / "other"
        folder.mkdir()
        trusted = Authority(folder)
    broker = serve(*identities, **options)
    link = link_to(broker, trusted)
    link.until(lambda: link.transport.last_error)
    assert "certificate is refused" in link.transport.last_error
    assert re.search(says, link.transport.last_error), link.transport.last_error
    assert link.transport.connects == 0
    link.close()


def test_plaintext_where_tls_is_spoken_is_given_up_cleanly(serve, authority):
    broker = serve()
    link = Link(broker.port)
    link.until(lambda: link.transport.last_error)
    assert link.transport.connects == 0
    link.close()
    plain = serve(is_tls=False)
    link = Link(0, address=Address("127.0.0.1", plain.port, True, str(authority.pem), timeout_s=2.0))
    link.until(lambda: link.transport.last_error)
    link.close()


def test_over_tls_a_command_that_the_kernel_may_not_take_is_not_begun(authority):
    crt, key = authority.issue("server", "127.0.0.1")
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(authority.pem))
    server.load_cert_chain(crt, key)
    one, other = socket.socketpair()
    with ThreadPoolExecutor() as pool:
        accepting = pool.submit(server.wrap_socket, one, server_side=True)
        ours, theirs = client.wrap_socket(other, server_hostname="127.0.0.1"), accepting.result(10)
    ours.setblocking(False)
    theirs.settimeout(1.0)
    packets = PacketSocket(ours, 4096, is_v5=True, on_publish=lambda *_: None, on_oversized=lambda _: None, on_control=lambda: None)
    assert packets.send_now(b"first")
    while select.select((), (ours,), (), 0)[1]:
        packets.queue(b"p" * 100)
        packets.flush()
    assert not packets.is_stalled, "all of it was taken, so far"
    assert not packets.send_now(b"COMMAND"), "OpenSSL would not give it back"
    assert packets.backlog == 0
    came = b""
    with contextlib.suppress(TimeoutError):
        while data := theirs.recv(65536):
            came += data
    assert packets.send_now(b"later")
    came += theirs.recv(65536)
    assert came.endswith(b"plater")
    assert b"COMMAND" not in came
    ours.close()
    theirs.close()
