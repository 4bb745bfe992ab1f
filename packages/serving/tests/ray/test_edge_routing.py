"""Where the edge sends requests: weights, sessions, shadows, testers, rescue, recovery."""

from __future__ import annotations

import collections
import http.client
import os
import re
import signal
import socket
import threading
import time
from dataclasses import replace

import pytest

from agentloop.contracts import PortInUse, TrafficSplit
from agentloop.serving.edge.haproxy_process import check_port_free

pytestmark = pytest.mark.ray
BLUE, GREEN = "0.1.0-aaaaaaaa-bbbbbbb1", "0.2.0-aaaaaaaa-bbbbbbb2"
VERSION = re.compile(rb"x-model-version: (\S+)\r\n")
AT_ONCE = 100


def versions(edge, heads):
    """Who answered each of these requests (their header lines), sent in bursts."""
    found = []
    with socket.create_connection(("127.0.0.1", edge.port), 20) as connection:
        for start in range(0, len(heads), AT_ONCE):
            burst = heads[start : start + AT_ONCE]
            connection.sendall(
                b"".join(b"GET /v2/models/tiny HTTP/1.1\r\nhost: x\r\n%s\r\n" % h for h in burst)
            )
            text = b""
            while text.count(b"\r\n\r\n{}") < len(burst):
                part = connection.recv(1 << 20)
                assert part, text[-500:]
                text += part
            found += [match.decode() for match in VERSION.findall(text)]
    return found


def sessions(edge, names):
    found = versions(edge, [b"x-session-id: %s\r\n" % name.encode() for name in names])
    return dict(zip(names, found, strict=True))


@pytest.fixture(autouse=True)
def _calm(edge):
    """Each test begins with all traffic on blue, and the breakers closed."""
    edge.backend.failing.clear()
    edge.backend.hanging.clear()
    edge.backend.seen.clear()
    edge.backend.keeps = True
    edge.keeper._tripped = {}
    edge.split(0, shadow=None, by_session=False, lease_until=None)


@pytest.mark.parametrize("percent", [1, 10, 50, 99])
def test_shares_are_the_weights(edge, percent):
    edge.split(percent)
    seen = collections.Counter(versions(edge, [b""] * 5000))
    assert seen[BLUE] + seen[GREEN] == 5000
    assert abs(seen[GREEN] - 50 * percent) <= 2


def test_a_weight_is_seen_by_the_next_request(edge):
    waits = []
    for percent in (100, 0) * 10:
        start = time.perf_counter()
        edge.split(percent)
        assert set(versions(edge, [b""] * 3)) == {GREEN if percent else BLUE}
        waits.append(time.perf_counter() - start)
    print(f"median {sorted(waits)[10] * 1000:.1f} ms, worst {max(waits) * 1000:.1f} ms")
    assert sorted(waits)[10] < 0.05


def test_sessions_move_from_the_old_version_to_the_new_one_only(edge):
    edge.backend.keeps = False
    names = [f"session-{number}" for number in range(10_000)]
    on_green = set()
    for percent in (1, 5, 10, 25, 50, 100):
        edge.split(percent)
        found = sessions(edge, names)
        now = {name for name, version in found.items() if version == GREEN}
        assert on_green <= now
        bound = 3.29 * (10_000 * percent / 100 * (1 - percent / 100)) ** 0.5
        assert abs(len(now) - 100 * percent) <= bound
        on_green = now


def test_a_session_stays_where_it_is_over_a_reload(edge):
    edge.split(50)
    names = [f"s{number}" for number in range(200)]
    before = sessions(edge, names)
    edge.split(50, shadow=GREEN, shadow_percent=1.0)  # a shadow needs a reload
    assert sessions(edge, names) == before


def test_an_a_b_test_splits_sessions_and_nothing_else(edge):
    edge.split(50, by_session=True)
    assert set(versions(edge, [b""] * 300)) == {BLUE}
    found = sessions(edge, [f"s{number}" for number in range(400)]).values()
    assert 140 <= collections.Counter(found)[GREEN] <= 260


def test_a_failing_version_is_rescued_with_and_without_a_session(edge):
    edge.split(50)
    edge.backend.failing.add(GREEN)
    assert set(versions(edge, [b""] * 10)) == {BLUE}
    assert set(sessions(edge, [f"s{number}" for number in range(10)]).values()) == {BLUE}
    green = next(t for t in edge.keeper.traffic("tiny") if t.version == GREEN)
    assert green.errors > 0
    assert green.rescued == green.errors


def test_even_a_version_with_all_the_traffic_is_rescued_on_stable(edge):
    edge.split(100)
    names = [f"s{number}" for number in range(10)]
    assert set(versions(edge, [b""] * 50)) == set(sessions(edge, names).values()) == {GREEN}
    edge.backend.failing.add(GREEN)
    assert set(versions(edge, [b""] * 8)) == set(sessions(edge, names).values()) == {BLUE}
    edge.backend.failing.clear()
    edge.split(0)
    assert set(versions(edge, [b""] * 50)) == {BLUE}


def test_a_version_that_fails_on_and_on_is_cut_off_and_tried_again(edge):
    edge.split(50, lease_until=time.time() + 60)
    edge.backend.failing.add(GREEN)

    def weight():
        versions(edge, [b""] * 60)
        return next(t.weight for t in edge.keeper.traffic("tiny") if t.version == GREEN)

    edge.until(lambda: weight() == 0)
    assert any("cut off" in event.action for event in edge.store.events("tiny"))
    edge.backend.failing.clear()
    edge.until(lambda: weight() == 50)


def test_the_stable_version_is_never_cut_off(edge):
    edge.backend.failing.add(BLUE)
    deadline = time.monotonic() + 0.8
    while time.monotonic() < deadline:
        assert edge.ask().status == 500
    edge.backend.failing.clear()
    assert edge.ask().status == 200


def test_a_shadow_is_a_sample_of_what_stable_is_asked(edge):
    edge.split(20, shadow=GREEN, shadow_percent=30.0)
    edge.backend.seen.clear()
    versions(edge, [b""] * 1000)
    marks = collections.Counter(
        (BLUE in seen.path, seen.header("x-agentloop-shadow")) for seen in edge.backend.seen
    )
    assert marks[False, None] == 200
    assert 180 <= marks[True, f"tiny--{GREEN}"] <= 300
    assert marks[True, None] + marks[True, f"tiny--{GREEN}"] == 800


def test_a_clients_own_shadow_header_goes_nowhere(edge):
    edge.ask(headers={"x-agentloop-shadow": "tiny--evil", "x_agentloop_shadow": "tiny--evil"})
    assert "evil" not in str(edge.backend.seen[-1].headers)


def test_a_tester_on_loopback_gets_the_version_by_its_name(edge):
    answer = edge.ask(headers={"x-agentloop-version": GREEN})
    assert (answer.status, answer.version) == (200, GREEN)
    assert edge.backend.seen[-1].header("x-agentloop-probe") == "1"
    assert edge.backend.seen[-1].path == f"/tiny--{GREEN}/v2/models/tiny/infer"
    before = edge.keeper.traffic("tiny")
    edge.ask("/invocations", headers={"x-agentloop-version": GREEN})
    assert edge.backend.seen[-1].path == f"/tiny--{GREEN}/invocations"
    assert [t.requests for t in before] == [t.requests for t in edge.keeper.traffic("tiny")]


@pytest.mark.parametrize("version", ["9.9.9", "../../x", "0.1.0", ""])
def test_an_unknown_version_is_not_found(edge, version):
    answer = edge.ask(headers={"x-agentloop-version": version})
    assert answer.status == 404, answer
    assert "no such version" in answer.error


def test_a_lease_that_ran_out_gives_everything_back_to_stable(edge):
    edge.split(50, lease_until=time.time() + 0.2)
    waited = edge.until(lambda: edge.store.split("tiny").lease_until is None)
    edge.until(lambda: set(versions(edge, [b""] * 4)) == {BLUE}, 1)
    assert waited < 1


def test_a_killed_haproxy_is_back_at_once(edge):
    times = []
    for _ in range(3):
        pid = edge.process.pid
        os.kill(pid, signal.SIGKILL)
        start = time.monotonic()
        edge.until(lambda: answers(edge))
        times.append(time.monotonic() - start)
        assert edge.process.pid != pid
    print(f"back after {[round(t, 3) for t in times]} s")
    assert max(times) < 2


def answers(edge):
    try:
        return edge.ask().status == 200
    except OSError:
        return False


def test_nobody_who_connects_is_refused_while_haproxy_is_dead(edge):
    """What is lost is what was in flight, and no more."""
    lost, answered, done = [], [], threading.Event()

    def client():
        while not done.is_set():
            try:
                answered.append(edge.ask().status)
            except (OSError, http.client.HTTPException) as error:
                lost.append(error)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.1)
        os.kill(edge.process.pid, signal.SIGKILL)
        edge.until(lambda: edge.process.pid is not None)
        before = len(answered)
        edge.until(lambda before=before: len(answered) > before + 20)
    done.set()
    for thread in threads:
        thread.join()
    assert set(answered) == {200}
    assert len(lost) <= 3 * len(threads)
    assert not any(isinstance(error, ConnectionRefusedError) for error in lost)


def test_an_edge_that_was_stopped_leaves_its_port_to_others(edge_world):
    edge = edge_world()
    with pytest.raises(PortInUse):
        check_port_free("127.0.0.1", edge.port)
    edge.keeper.stop()
    check_port_free("127.0.0.1", edge.port)


def test_a_haproxy_that_hangs_is_replaced(edge):
    pid = edge.process.pid
    os.kill(pid, signal.SIGSTOP)
    edge.until(lambda: edge.process.pid != pid, 20)
    took = edge.until(lambda: answers(edge))
    assert took < 2


def test_a_keeper_that_was_replaced_takes_the_running_haproxy_over(edge):
    """As after a SIGKILL of the edge's actor: traffic goes on, weights are followed again."""
    edge.stopping.set()
    edge.thread.join()
    edge.process._child = None  # the next keeper is another process: it did not start HAProxy
    edge.store.put_split(
        replace(edge.store.split("tiny"), weights={BLUE: 50.0, GREEN: 50.0}, epoch=10_000)
    )
    assert set(versions(edge, [b""] * 4)) == {BLUE}
    before, pid = requests(edge), edge.process.pid
    edge.keeper = edge.make_keeper()
    edge.keeper.reconcile()
    assert edge.process.pid == pid
    assert collections.Counter(versions(edge, [b""] * 4)) == {BLUE: 2, GREEN: 2}
    assert requests(edge) == before + 4
    edge.start()


def requests(edge):
    return sum(traffic.requests for traffic in edge.keeper.traffic("tiny"))


def test_counts_go_on_over_reloads_and_deaths(edge):
    before = requests(edge)
    versions(edge, [b""] * 10)
    edge.split(0, shadow=GREEN, shadow_percent=3.0)
    versions(edge, [b""] * 10)
    assert requests(edge) == before + 20
    os.kill(edge.process.pid, signal.SIGKILL)
    assert requests(edge) == before + 20
    edge.until(lambda: edge.process.pid is not None)
    edge.keeper.reconcile()
    versions(edge, [b""] * 10)
    assert requests(edge) == before + 30
    reborn = edge.make_keeper()
    reborn.reconcile()
    assert sum(traffic.requests for traffic in reborn.traffic("tiny")) == before + 30


def test_nothing_is_lost_while_reloads_follow_one_another(edge):
    lost, done = [], threading.Event()

    def client(pause):
        """Asks on one connection for as long as the edge does not ask for another."""
        connection = edge.connect()
        while not done.wait(pause):
            try:
                answer = edge.ask(connection=connection)
                lost.extend(v for v in [answer.status] if v != 200)
                if answer.headers.get("connection") == "close":
                    connection.close()
                    connection = edge.connect()
            except (OSError, http.client.HTTPException) as error:
                lost.append(error)

    threads = [threading.Thread(target=client, args=(pause,)) for pause in (0, 0, 0.1, 0.3)]
    for thread in threads:
        thread.start()
    for number in range(6):
        edge.split(10, shadow=GREEN, shadow_percent=1.0 + number)
    done.set()
    for thread in threads:
        thread.join()
    assert not lost


def test_a_model_without_a_split_is_not_ready(edge_world):
    edge = edge_world()
    edge.store.put_split(TrafficSplit("tiny", {}, "gone", 9))
    edge.keeper.reconcile()
    answer = edge.ask()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
