"""What the edge keeps out: callers without a key, too many, too large, too slow, too clever."""

from __future__ import annotations

import concurrent.futures
import json
import re
import select
import socket
import stat
import time

import pytest

from agentloop.serving.edge.api_keys import Rate, create_key
from agentloop.serving.edge.guards import EdgeGuards
from agentloop.serving.edge.haproxy_guards import KEYS_MAP
from agentloop.serving.naming import private_path

pytestmark = pytest.mark.ray
BLUE, GREEN = "0.1.0-aaaaaaaa-bbbbbbb1", "0.2.0-aaaaaaaa-bbbbbbb2"
INFER = "/v2/models/tiny/infer"
KEYED = EdgeGuards(keys=True, access_log=True, timeout_seconds=1.0)
TIGHT = EdgeGuards(max_body_bytes=200_000, timeout_seconds=1.0, header_seconds=1.0)


@pytest.fixture(scope="module")
def keyed(make_edge):
    """An edge that asks for keys and writes a log, with three keys that work."""
    world = make_edge(KEYED)
    world.tokens = {}
    for name, more in (
        ("plain", {}),
        ("slow", {"rate": Rate(5, 1)}),
        ("tester", {"tester": True}),
    ):
        world.tokens[name] = create_key(world.keys, name, time.time(), **more)[1]
    world.keeper.reconcile()
    return world


@pytest.fixture(scope="module")
def tight(make_edge):
    """An edge with small caps."""
    return make_edge(TIGHT)


def bearer(world, name):
    return {"authorization": f"Bearer {world.tokens[name]}"}


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": "Bearer al_nobody"},
        {"authorization": "Basic dTpw"},
        {"x-api-key": "al_nobody"},
        {"x_api_key": "al_nobody"},
        {"authorization": "Bearer " + "x" * 5000},
    ],
    ids=lambda headers: str(headers)[:40],
)
def test_without_a_valid_key_there_is_a_401(keyed, headers):
    answer = keyed.ask(headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "API key" in answer.error


def test_a_key_works_in_both_headers_and_goes_no_further(keyed):
    for headers in (bearer(keyed, "plain"), {"x-api-key": keyed.tokens["plain"]}):
        keyed.backend.seen.clear()
        assert keyed.ask(headers=headers).status == 200
        (seen,) = keyed.backend.seen
        assert keyed.tokens["plain"] not in str(seen)
        assert seen.header("authorization") is seen.header("x-api-key") is None


def test_the_key_is_in_no_file_of_the_edge(keyed):
    keyed.ask(headers=bearer(keyed, "plain"))
    for path in keyed.folder.rglob("*"):
        if path.is_file():
            assert keyed.tokens["plain"].encode() not in path.read_bytes(), path


def test_health_asks_for_no_key(keyed):
    assert keyed.ask("/v2/health/live", None).status == 200
    assert keyed.ask("/v2/health/ready", None).status == 200
    assert keyed.ask("/v2", None).status == 401


def test_a_new_key_works_and_a_revoked_one_stops_within_a_second_without_a_reload(keyed):
    pid = keyed.process.pid
    _, token = create_key(keyed.keys, "brief", time.time())
    headers = {"x-api-key": token}
    keyed.until(lambda: keyed.ask(headers=headers).status == 200, 1)
    keyed.keys.revoke("brief", time.time())
    keyed.until(lambda: keyed.ask(headers=headers).status == 401, 1)
    assert keyed.process.pid == pid
    revoked = keyed.keys.all()[-1].digest  # the file follows what runs
    keyed.until(lambda: revoked not in (keyed.folder / KEYS_MAP).read_text(), 1)


def test_a_key_ends_when_it_expires(keyed):
    _, token = create_key(keyed.keys, "short", time.time(), days=1 / 86_400)
    headers = {"x-api-key": token}
    keyed.until(lambda: keyed.ask(headers=headers).status == 200, 0.9)
    keyed.until(lambda: keyed.ask(headers=headers).status == 401, 2)


def test_keys_are_still_there_after_haproxy_was_killed(keyed):
    keyed.process._child.kill()

    def answers():
        try:
            return keyed.ask(headers=bearer(keyed, "plain")).status == 200
        except OSError:
            return False

    keyed.until(answers, 2)


def test_a_key_gets_its_rate_and_not_more(keyed):
    keyed.until(lambda: keyed.ask(headers=bearer(keyed, "slow")).status == 200, 3)
    connection = keyed.connect()
    start, statuses = time.monotonic(), []
    while time.monotonic() - start < 3:
        answer = keyed.ask(headers=bearer(keyed, "slow"), connection=connection)
        statuses.append(answer.status)
        if answer.status == 429:
            assert answer.headers["retry-after"] == "1"
            assert "rate" in answer.error
    assert set(statuses) == {200, 429}
    assert 10 <= statuses.count(200) <= 22  # 5 a second for 3 s, by a sliding window
    assert keyed.ask(headers=bearer(keyed, "plain")).status == 200


def test_only_a_testers_key_asks_for_a_version_or_a_private_route(keyed):
    pinned = {"x-agentloop-version": GREEN}
    assert keyed.ask(headers={**bearer(keyed, "plain"), **pinned}).status == 403
    answer = keyed.ask(headers={**bearer(keyed, "tester"), **pinned})
    assert (answer.status, answer.version) == (200, GREEN)
    private = private_path("tiny", GREEN) + INFER
    assert keyed.ask(private, headers=bearer(keyed, "plain")).status == 403
    assert keyed.ask(private, headers=bearer(keyed, "tester")).version == GREEN
    assert keyed.ask(private).status == 401


def test_only_the_trusted_mark_probes(keyed):
    for name, kept in (("plain", None), ("tester", "1")):
        keyed.ask(headers={**bearer(keyed, name), "x-agentloop-probe": "1"})
        assert keyed.backend.seen[-1].header("x-agentloop-probe") == kept


def test_the_door_inside_asks_for_its_secret_alone(keyed):
    door = keyed.guards.inside
    for path in (INFER, f"/_inside/{'x' * 43}{INFER}", "/_inside/", f"/_inside/{door.secret[:-1]}"):
        assert keyed.ask(path, connection=keyed.connect("inside")).status == 404
    inside = keyed.connect("inside")
    assert keyed.ask(door.prefix + INFER, connection=inside).version == BLUE
    private = door.prefix + private_path("tiny", GREEN) + INFER
    assert keyed.ask(private, connection=inside).version == GREEN
    assert door.secret not in str(keyed.backend.seen[-1])
    assert keyed.ask(door.prefix + INFER).status == 401  # not by the public door


# --- the access log ------------------------------------------------------------------------------


def logged(world, request_id):
    """The line of one request, once it is written."""
    found = []

    def there():
        if world.log_path.exists():
            lines = world.log_path.read_text().splitlines()
            found[:] = [line for line in map(json.loads, lines) if line["request_id"] == request_id]
        return bool(found)

    world.until(there, 6)
    return found[0]


def test_a_request_is_one_line_of_json(keyed):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {**bearer(keyed, "plain"), "x-request-id": "line-1", "traceparent": trace}
    keyed.ask(headers=headers)
    line = logged(keyed, "line-1")
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert (line["method"], line["path"], line["status"]) == ("POST", INFER, 200)
    assert (line["model"], line["version"], line["key"]) == ("tiny", BLUE, "plain")
    assert line["bytes_in"] > len(keyed.tokens["plain"])
    assert line["bytes_out"] > 100
    assert line["ms"] >= 0
    assert line["rescued"] is False
    assert abs(line["time"] - time.time()) < 10


def test_refusals_and_rescues_are_in_the_log_too(keyed):
    keyed.ask(headers={"x-request-id": "refused-1"})
    assert logged(keyed, "refused-1")["status"] == 401
    keyed.split(50)
    keyed.backend.failing.add(GREEN)
    for number in range(2):
        headers = {**bearer(keyed, "plain"), "x-request-id": f"rescued-{number}"}
        assert keyed.ask(headers=headers).status == 200
    keyed.backend.failing.clear()
    keyed.split(0)
    assert sorted(logged(keyed, f"rescued-{number}")["rescued"] for number in range(2)) == [
        False,
        True,
    ]


def test_hostile_text_stays_inside_its_line(keyed):
    headers = {
        **bearer(keyed, "plain"),
        "x-request-id": "quoted-1",
        "traceparent": '00-"},{"x":"-b',
    }
    keyed.ask('/v2/models/tiny/"},{"a":"%22\\', None, headers)
    line = logged(keyed, "quoted-1")
    assert line["path"] == '/v2/models/tiny/"},{"a":"%22\\'
    assert "x" not in line


def test_the_secret_path_is_not_in_the_log(keyed):
    door = keyed.guards.inside
    headers = {"x-request-id": "inside-1"}
    keyed.ask(door.prefix + INFER, headers=headers, connection=keyed.connect("inside"))
    assert logged(keyed, "inside-1")["path"] == INFER
    assert door.secret not in keyed.log_path.read_text()


def test_the_log_is_for_its_owner_alone(keyed):
    keyed.ask(headers={"x-request-id": "mode-1"})
    logged(keyed, "mode-1")
    assert stat.S_IMODE(keyed.log_path.stat().st_mode) == 0o600


def test_no_request_waits_for_a_reader_and_none_is_lost_over_its_restart(keyed):
    keyed.log.stop()
    for number in range(50):
        headers = {**bearer(keyed, "plain"), "x-request-id": f"late-{number}"}
        assert keyed.ask(headers=headers).status == 200
    keyed.log.start()
    assert logged(keyed, "late-0")["status"] == logged(keyed, "late-49")["status"] == 200


# --- caps ----------------------------------------------------------------------------------------


def test_a_body_over_the_cap_is_refused_by_its_length(tight):
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 200001\r\n\r\nx"
    answer = tight.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'{"error":"the body is over 200000 bytes"}' in answer
    assert tight.ask(body=b"x" * 200_000).status == 200


def test_a_model_that_takes_too_long_is_a_504_in_time(tight):
    tight.backend.hanging.add(BLUE)
    start = time.monotonic()
    answer = tight.ask()
    took = time.monotonic() - start
    tight.backend.hanging.clear()
    assert answer.status == 504
    assert "too long" in answer.error
    assert 0.9 < took < 1.8


def many(count, size):
    return "".join(f"\r\nx{number}: {'a' * size}" for number in range(count))


def test_a_client_may_wait_for_longer_than_it_may_pause(make_edge):
    world = make_edge(EdgeGuards(header_seconds=0.3, timeout_seconds=1.0))
    world.backend.hanging.add(BLUE)
    assert world.ask().status == 504
    start = time.monotonic()
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n"
    answer = world.raw(head.encode() + b"x" * 100_000, 3)
    assert time.monotonic() - start < 0.9
    assert answer.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize(
    ("request_line", "headers", "expected"),
    [
        ("GET /v2 HTTP/1.1", many(1, 13_000), 431),
        ("GET /v2 HTTP/1.1", many(1, 50_000), 431),
        ("GET /v2 HTTP/1.1", many(100, 1), 431),
        ("GET /v2 HTTP/1.1", many(1000, 1), 431),
        ("GET /v2 HTTP/1.1", many(75, 100), 200),
        ("GET /" + "a" * 3_000 + " HTTP/1.1", "", 414),
        ("GET /" + "a" * 50_000 + " HTTP/1.1", "", 400),
        ("DELETE /v2/models/tiny/infer HTTP/1.1", "\r\ncontent-length: 300000", 413),
    ],
    ids=lambda value: str(value)[:30],
)
def test_hostile_heads_get_a_short_typed_4xx(tight, request_line, headers, expected):
    answer = tight.raw(f"{request_line}\r\nhost: x{headers}\r\n\r\n".encode(), 1.0)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {expected} ".encode()), answer[:300]
    assert len(answer) < 4096
    if expected != 200:
        assert json.loads(body)["error"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v2\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"G\x01T /v2 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nhost: x\r\nx: \x00\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET http://a/v2 HTTP/1.1\r\nhost: b\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: odd\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 100,
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_http_gets_a_short_typed_400(tight, request_bytes):
    tight.backend.seen.clear()
    answer = tight.raw(request_bytes, 1.5)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"content-type: application/json" in head
    assert f"content-length: {len(body)}".encode() in head
    assert json.loads(body) == {"error": "the request is not valid HTTP"}
    assert not tight.backend.seen


def test_what_follows_a_sound_request_is_guarded_too(tight):
    """By HAProxy's parser, in its own words: short, and nothing gets through."""
    tight.backend.seen.clear()
    answer = tight.raw(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\nno\x00nsense\r\n\r\n", 1.5)
    first, second = answer.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200")
    assert second.startswith(b"400")
    assert len(second) < 400
    assert not tight.backend.seen


def test_a_probe_of_the_port_is_closed_without_a_word(tight):
    assert tight.raw(b"", 4.0) == b""


def test_a_refusal_before_http_is_in_the_log(keyed):
    answer = keyed.raw(b"nonsense\r\n\r\n", 1.5)
    request_id = re.search(rb"x-request-id: (\S+)", answer)[1].decode()
    line = logged(keyed, request_id)
    assert (line["status"], line["model"], line["rescued"]) == (400, "-", False)


def test_five_hundred_slow_clients_are_dropped_and_hinder_nobody(tight):
    calm = sorted(_timed(tight) for _ in range(50))
    slow = [socket.create_connection(("127.0.0.1", tight.port)) for _ in range(500)]
    for number, connection in enumerate(slow):
        head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\n"
        whole = number % 2 == 0  # half are slow with their headers, half with their body
        connection.sendall((head + ("content-length: 900\r\n\r\n{" if whole else "x")).encode())
    before = tight.backend.count[BLUE]
    busy = sorted(_timed(tight) for _ in range(50))
    assert tight.backend.count[BLUE] - before == 50
    print(f"median {calm[25] * 1000:.1f} ms alone, {busy[25] * 1000:.1f} ms beside 500 slow ones")
    assert busy[25] < 2 * calm[25] + 0.02
    poll = select.poll()
    for connection in slow:
        poll.register(connection, select.POLLIN)
    deadline, answers = time.monotonic() + 5, []
    open_ones = {connection.fileno(): connection for connection in slow}
    while open_ones and time.monotonic() < deadline:
        for handle, _ in poll.poll(100):
            answers.append(open_ones[handle].recv(4096))
            poll.unregister(handle)
            open_ones.pop(handle).close()
    assert len(answers) == 500
    assert all(answer.startswith(b"HTTP/1.1 408") for answer in answers)
    assert all(b'{"error":"the request took too long' in answer for answer in answers)


def _timed(world):
    start = time.perf_counter()
    assert world.ask().status == 200
    return time.perf_counter() - start


def test_where_no_key_tells_strangers_apart_one_address_has_its_share(make_edge, stranger):
    world = make_edge(EdgeGuards(insecure=True, connections=5), host="0.0.0.0")
    opened, answered = [], 0
    for _ in range(8):
        try:
            opened.append(socket.create_connection((stranger, world.port), 2))
            opened[-1].sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            answered += opened[-1].recv(4096).startswith(b"HTTP/1.1 200")
        except ConnectionError:
            pass
    assert answered == 5
    assert world.ask().status == 200  # loopback is no stranger
    for connection in opened:
        connection.close()


def test_a_stranger_sees_no_private_route_and_marks_nothing(make_edge, stranger):
    import http.client

    world = make_edge(EdgeGuards(insecure=True), host="0.0.0.0")

    def ask(path, headers):
        connection = http.client.HTTPConnection(stranger, world.port, timeout=5)
        return world.ask(path, headers=headers, connection=connection)

    assert ask(private_path("tiny", GREEN) + INFER, {}).status == 403
    assert ask(INFER, {"x-agentloop-version": GREEN}).status == 403
    assert ask(INFER, {"x-agentloop-probe": "1", "x-agentloop-anything": "1"}).status == 200
    assert "agentloop" not in str(world.backend.seen[-1].headers)


# --- what must not get through -------------------------------------------------------------------


def test_hop_by_hop_headers_and_serves_own_are_stripped(tight):
    sent = {
        "connection": "upgrade, keep-alive",
        "upgrade": "h2c",
        "http2-settings": "AAMAAABkAAQAAP__",
        "keep-alive": "timeout=9",
        "te": "trailers",
        "trailer": "x",
        "proxy-authorization": "Basic eDp5",
        "proxy-connection": "keep-alive",
        "x-request-timeout-seconds": "0",
        "x-request-disconnect-disabled": "?1",
        "x_request_timeout_seconds": "0",
        "x-kept": "1",
    }
    assert tight.ask(headers=sent).status == 200
    names = {name for name, _ in tight.backend.seen[-1].headers}
    assert "x-kept" in names
    assert not names & (set(sent) - {"x-kept"})


SIZE, END = b"content-length: %d\r\n", b"\r\n0\r\n\r\n"
HEAD = b"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    ("shape", "request_bytes"),
    [
        ("CL.TE", SIZE + b"transfer-encoding: chunked\r\n" + END),
        ("TE.CL", b"transfer-encoding: chunked\r\n" + SIZE + END),
        ("two lengths", b"content-length: 0\r\n" + SIZE + b"\r\n"),
        ("list of lengths", b"content-length: 0, %d\r\n\r\n"),
        ("signed length", b"content-length: +%d\r\n\r\n"),
        ("hex length", b"content-length: 0x%d\r\n\r\n"),
        ("spaced colon", b"transfer-encoding : chunked\r\n" + SIZE + END),
        ("folded", b"transfer-encoding:\r\n chunked\r\n" + SIZE + END),
        ("xchunked", b"transfer-encoding: xchunked\r\n" + SIZE + END),
        ("twice", b"transfer-encoding: chunked, chunked\r\n" + SIZE + END),
        ("not last", b"transfer-encoding: chunked, identity\r\n" + SIZE + END),
        ("vertical tab", b"transfer-encoding: \x0bchunked\r\n" + SIZE + END),
        ("bare CR", b"x: y\rtransfer-encoding: chunked\r\n" + SIZE + END),
        ("underscore", b"transfer_encoding: chunked\r\n" + SIZE + END),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_request_is_smuggled_past_the_edge(tight, shape, request_bytes):
    """The backend reads as strictly as it can: what hides in a body must not become a request of
    its own, unless the edge itself saw it as one and applied its rules to it."""
    tight.backend.seen.clear()
    hidden = b"GET /_versions/tiny/hidden/x HTTP/1.1\r\nhost: x\r\nx-agentloop-shadow: x\r\n\r\n"
    tight.raw(HEAD + request_bytes % len(hidden) + hidden, 1.3)
    for seen in tight.backend.seen:
        assert "hidden" not in seen.path
        assert seen.header("x-agentloop-shadow") is None
        lengths = [value for name, value in seen.headers if name == "content-length"]
        chunked = seen.header("transfer-encoding")
        assert len(lengths) + (chunked is not None) <= 1
        assert chunked in (None, "chunked")


def test_chunked_bodies_arrive_whole(tight):
    chunks = b"3\r\nabc\r\n5;ext=1\r\ndefgh\r\n0\r\n\r\n"
    answer = tight.raw(HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks, 1.0)
    assert answer.startswith(b"HTTP/1.1 200")
    assert tight.backend.seen[-1].body == b"abcdefgh"


def test_many_clients_at_once_all_get_answers(tight):
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(lambda _: tight.ask().status, range(500)))
    assert statuses == [200] * 500
