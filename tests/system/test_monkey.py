"""The monkey for three quarters of a minute with a seed of its own, and its judge and its proxy with lies."""

import itertools
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from tests.broker import needs_mosquitto
from tests.system import monkey_judge as judge
from tests.system.monkey import report, run
from tests.system.monkey_faults import FAULTS, pranks
from tests.system.monkey_proxy import Proxy
from tests.system.monkey_stage import Sample

SEED, SECONDS = 277, 40.0  # a full disk, a kill, a broker that dies and one that stops, links that are held and reset
MS = 1_000_000
TTL_NS = 500 * MS


@needs_mosquitto
@pytest.mark.timeout(400)
def test_nothing_is_lost_stale_or_forged_whatever_the_monkey_does(tmp_path):
    found = run(tmp_path, SECONDS, SEED)
    wrong = found.faulty()
    assert not wrong, f"python -m tests.system.monkey --seconds {SECONDS:g} --seed {SEED}\n" + "\n".join([*wrong[:20], report(found)])
    assert found.faults >= 4
    assert found.runs >= 2
    assert found.alerts_stored_at_kills > 0


# -- the judge ---------------------------------------------------------------------------------------------------------------


def heard(*ids: str) -> judge.Heard:
    out = judge.Heard()
    for one in ids:
        out.alert({"id": one, "name": "hot", "issued_ns": 1})
    return out


@pytest.mark.parametrize(
    ("ids", "stored", "lost", "forged"),
    [
        (["b-a1", "b-a2", "b-a2", "b-o1"], set(), [], []),
        (["b-a1", "b-a3"], set(), ["b-a2"], []),
        (["b-a1"], {"b-a1", "b-a2"}, ["b-a2"], []),
        (["b-a1", "c-a1"], set(), [], ["c-a1"]),
        (["b-a1"], {"b-o1"}, ["b-o1"], []),
        (["b-a1", "b-o2"], {"b-o1"}, [], []),
    ],
)
def test_a_hole_and_a_stranger_among_alerts_are_found(ids, stored, lost, forged):
    assert judge.lost_alerts(heard(*ids), [judge.Life(1, ["b"])], stored) == (lost, forged)


def told(issued_ms: float, arrived_ms: float, one: str = "b-1", boot: str = "b", age_ms: float = 1.0) -> judge.Told:
    return judge.Told(one, boot, "slow", int(issued_ms * MS), TTL_NS, age_ms, int(arrived_ms * MS))


def judged(*commands: judge.Told, windows: tuple[tuple[str, int, int], ...] = (), died_ms: int = 0) -> tuple[int, int, int, int]:
    given = judge.Heard()
    given.commands = list(commands)
    spans = [judge.Window(kind, begin * MS, end * MS) for kind, begin, end in windows]
    out = judge.judge_commands(given, [judge.Life(1, ["b"], died_ns=died_ms * MS)], spans, 700.0, TTL_NS)
    return len(out.stale), len(out.forged), out.held_back, out.caught


def test_commands_that_are_late_twice_or_of_nobody_are_found():
    late = told(10_000, 11_600)
    assert judged(told(10_000, 10_020), told(10_050, 10_900, "b-2")) == (0, 0, 0, 0)
    assert judged(late) == (1, 0, 0, 0)
    assert judged(told(10_000, 10_020, age_ms=701.0)) == (1, 0, 0, 0)
    assert judged(told(10_000, 10_020), told(10_000, 10_020)) == (0, 1, 0, 0)
    assert judged(told(10_000, 10_020, boot="c")) == (0, 1, 0, 0)
    assert judged(told(10_000, 10_020), died_ms=9_000) == (0, 1, 0, 0)


def test_a_late_command_is_excused_by_a_link_that_stood_and_by_nothing_else():
    late, later = told(10_000, 11_600), told(10_001, 11_601, "b-2")
    assert judged(late, windows=(("link held", 9_000, 11_500),)) == (0, 0, 1, 0)
    assert judged(late, windows=(("link held", 11_000, 11_500),)) == (1, 0, 0, 0), "it was issued a life before"
    assert judged(late, windows=(("link reset", 9_900, 11_500),)) == (1, 0, 0, 0), "a link that is cut holds nothing"
    assert judged(told(10_000, 11_400, age_ms=1.0), windows=(("link dropped", 9_990, 11_500),)) == (1, 0, 0, 0), "through a cut link"
    assert judged(late, windows=(("witness late", 10_200, 11_500),)) == (0, 0, 1, 0), "strangers were late to each other, too"
    queue = [told(10_000 + i, 21_000, f"b-{i}") for i in range(judge.HELD_MOST + 1)]
    assert judged(*queue[1:], windows=(("link held", 9_000, 20_990),))[0] == 0
    assert judged(*queue, windows=(("link held", 9_000, 20_990),))[0] == 1, "the daemon should have withheld them"
    assert judged(late, later, windows=(("daemon stopped", 10_010, 11_500),)) == (1, 0, 0, 1), "one may stand before its socket, no more"


def test_a_sum_that_does_not_come_out_is_found():
    stream = {"received": 3, "used": 1, "held": 0, "late": 0, "duplicate": 0, "invalid": {"malformed": 1}, "dropped": {"stale": 1}}
    alerts = {"accepted": 2, "delivered": 1, "waiting": 0, "in_flight": 1, "evicted": 0}
    line = {"state": "open", "opens": 1, "read_bytes": 70, "received": 1, "used": 1, "damaged": 0}
    status = {"alerts": alerts, "streams": {"s": stream}, "serial": {"gps": line}, "checkpoint": {}}
    assert judge.balance(status) == []
    assert len(judge.balance(status | {"alerts": alerts | {"waiting": 1}})) == 1
    assert len(judge.balance(status | {"streams": {"s": stream | {"used": 2}}})) == 1
    assert len(judge.balance(status | {"serial": {"gps": line | {"used": 0}}})) == 1
    del status["checkpoint"]
    assert len(judge.balance(status)) == 1


@pytest.mark.parametrize("settles", [True, False])
def test_memory_and_descriptors_that_grow_are_found(settles):
    seconds = 600 if settles else 60
    grows_kb = (5000 if settles else 20_000) / seconds

    def grown(kb: float = 0.0, fds: float = 0.0) -> bool:
        samples = [Sample(at, int(160_000 + kb * at + min(at, 40) * 50), int(18 + fds * at), 5) for at in range(seconds)]
        return judge.growth(samples).is_flat

    assert grown()
    assert not grown(kb=grows_kb * 2)
    assert not grown(fds=5 / seconds * 2)


# -- the proxy ---------------------------------------------------------------------------------------------------------------


@contextmanager
def echoed():
    """A proxy before a server that sends everything back; a client behind it."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            while True:
                one, _ = server.accept()
                threading.Thread(target=answer, args=(one,), daemon=True).start()
        except OSError:
            return

    def answer(one: socket.socket) -> None:
        try:
            while data := one.recv(100):
                one.sendall(data)
        except OSError:
            return
        finally:
            one.close()

    threading.Thread(target=serve, daemon=True).start()
    proxy = Proxy(server.getsockname()[1])
    try:
        yield proxy
    finally:
        proxy.close()
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def dial(proxy: Proxy) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", proxy.port), 5)
    one.settimeout(0.5)
    return one


def test_a_held_link_passes_everything_on_later_and_a_cut_one_nothing():
    with echoed() as proxy, dial(proxy) as one:
        one.sendall(b"a")
        assert one.recv(9) == b"a"
        for mode in ("hold", "hold away"):
            proxy.turn(mode)
            time.sleep(0.1)
            one.sendall(b"b")
            with pytest.raises(TimeoutError):
                one.recv(9)
            proxy.turn("pass")
            assert one.recv(9) == b"b"
        for mode in ("drop", "drop away"):
            with dial(proxy) as other:
                other.sendall(b"c")
                assert other.recv(9) == b"c"
                proxy.turn(mode)
                time.sleep(0.1)
                other.sendall(b"d")
                with pytest.raises(TimeoutError):
                    other.recv(9)
                proxy.turn("pass")
                with pytest.raises(ConnectionResetError):
                    other.recv(9)


def ask(proxy: Proxy) -> bytes:
    with dial(proxy) as one:
        one.sendall(b"a")
        return one.recv(9)


def test_a_shut_and_a_reset_link_take_nobody_in():
    with echoed() as proxy:
        proxy.turn("reset")
        time.sleep(0.1)
        with pytest.raises(ConnectionError):
            ask(proxy)
        proxy.turn("pass")
        proxy.is_shut = True
        with pytest.raises(ConnectionError):
            ask(proxy)
        proxy.is_shut = False
        assert ask(proxy) == b"a"


def test_a_seed_repeats_its_faults():
    first, again, other = (list(itertools.islice(pranks(seed, 4.0), 50)) for seed in (1, 1, 2))
    assert first == again != other
    assert {name for prank in itertools.islice(pranks(1, 4.0), 500) for name in prank.names} == {
        fault.__name__ for several in FAULTS.values() for fault in several
    }
