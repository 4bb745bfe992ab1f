"""The frontend's guards as HAProxy rules: doors, caps, keys, rates, stripping, the access log.

What a caller is asked for depends on the door (``so_id``): 1 the public one, 2 the loop's own.
``trusted`` may see private routes, mark probes and ask for a version by name: the loop's own door,
and beyond it a tester's key, or a loopback address where no keys are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

from agentloop.contracts.spec_serving import LOOPBACK as LOOPBACK_HOSTS
from agentloop.serving.edge.access_log import ACCESS_SOCKET
from agentloop.serving.edge.certificates import PEM_FILE
from agentloop.serving.edge.guards import INSIDE
from agentloop.serving.edge.haproxy_text import reply, section
from agentloop.serving.edge.plan import EdgePlan

KEYS_MAP = "keys.map"
LOOPBACK = "src 127.0.0.0/8 ::1"
# Serve's own proxy takes 16 KB with the request line, and 101 headers.
MAX_HEADER_BYTES = 12_000
MAX_HEADERS = 80
MAX_URL_BYTES = 3_000
PERIODS = (1, 60, 3600)
# Serve obeys the first two from any client; the rest are hop-by-hop, and an upgrade would open a
# tunnel past every rule here.
STRIPPED = (
    "x-request-timeout-seconds",
    "x-request-disconnect-disabled",
    "x-agentloop-shadow",
    "x-agentloop-version",
    "upgrade",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
)
_LOG_FIELDS = (
    ("request_id", '"%[var(txn.id)]"'),
    ("trace_id", '"%[var(txn.trace),json(utf8s)]"'),
    ("method", '"%[var(txn.method)]"'),
    ("path", '"%[var(txn.path),json(utf8s)]"'),
    ("model", '"%[var(txn.model)]"'),
    ("version", '"%[var(txn.version),json(utf8s)]"'),
    ("key", '"%[var(txn.key)]"'),
    ("bytes_in", "%U"),
    ("bytes_out", "%B"),
    # What access_log.finished makes "status", "ms" and "rescued" of.
    ("end", '"%[var(txn.status)] %[date(0,ms),sub(txn.began)] %rc"'),
)


def binds(plan: EdgePlan) -> Iterator[str]:
    """The doors."""
    host = f"[{plan.address.host}]" if ":" in plan.address.host else plan.address.host
    tls = ""
    if plan.guards.tls:
        tls = f" ssl crt {plan.run_dir / PEM_FILE} alpn h2,http/1.1 ssl-min-ver TLSv1.2"
    yield f"bind {host}:{plan.address.port} id 1{tls}"
    if plan.guards.inside is not None:
        yield f"bind 127.0.0.1:{plan.guards.inside.port} id 2"


def connection_caps(plan: EdgePlan) -> Iterator[str]:
    """One stranger may not take all connections; a key is asked for only once one is open."""
    if _faces_strangers(plan):
        most = plan.guards.connections
        yield f"tcp-request connection track-sc1 src table sources unless {{ {LOOPBACK} }}"
        yield f"tcp-request connection reject if {{ sc1_conn_cur gt {most} }}"


def _faces_strangers(plan: EdgePlan) -> bool:
    return plan.address.host not in LOOPBACK_HOSTS


def request_ids() -> Iterator[str]:
    yield "http-request set-var(txn.id) req.hdr(x-request-id)"
    yield (
        "http-request set-var(txn.id) uuid() unless { var(txn.id) -m reg ^[A-Za-z0-9._:-]{1,128}$ }"
    )
    yield "http-request set-header x-request-id %[var(txn.id)]"
    yield "http-after-response set-header x-request-id %[var(txn.id)]"


def size_caps(plan: EdgePlan) -> Iterator[str]:
    """A chunked body has no length to look at here: the replica counts it as it arrives."""
    most = plan.guards.max_body_bytes
    yield reply(413, f"the body is over {most} bytes", f"{{ req.body_size gt {most} }}")
    yield reply(
        431,
        f"the headers are over {MAX_HEADER_BYTES} bytes",
        f"{{ req.hdrs,length gt {MAX_HEADER_BYTES} }}",
    )
    too_many = f"there are over {MAX_HEADERS} headers"
    yield reply(431, too_many, f"{{ req.fhdr_cnt gt {MAX_HEADERS} }}")
    yield reply(
        414,
        f"the address is over {MAX_URL_BYTES} bytes",
        f"{{ url -m len {MAX_URL_BYTES + 1}: }}",
    )


def inside_door(plan: EdgePlan) -> Iterator[str]:
    """Let those in who know the secret path, which goes no further."""
    inside = plan.guards.inside
    if inside is None:
        return
    yield "http-request set-var(txn.secret) path,field(3,/),digest(sha256),hex,lower if { so_id 2 }"
    known = f"{{ var(txn.secret) -m str {inside.digest} }}"
    yield reply(404, "there is nothing at this path", f"{{ so_id 2 }} !{known}")
    yield f"http-request set-path %[path,bytes({len(inside.prefix)})] if {{ so_id 2 }}"
    yield "http-request unset-var(txn.secret) if { so_id 2 }"


def keys(plan: EdgePlan) -> Iterator[str]:
    """The key goes no further than here: not to a replica, and to no log but by its name."""
    if not plan.guards.keys:
        return
    asked = "!{ so_id 2 }"
    yield f"http-request set-var(txn.token) http_auth_bearer if {asked}"
    yield (
        f"http-request set-var(txn.token) req.hdr(x-api-key) if {asked} "
        "!{ var(txn.token) -m found }"
    )
    found = f"digest(sha256),hex,lower,map_str({plan.run_dir / KEYS_MAP})"
    yield f"http-request set-var(txn.entry) var(txn.token),{found} if {{ var(txn.token) -m found }}"
    yield "http-request unset-var(txn.token)"
    yield "http-request del-header authorization"
    yield "http-request del-header x-api-key"
    yield reply(
        401,
        "this model asks for an API key: authorization: Bearer KEY",
        f"{asked} !{{ var(txn.entry) -m found }}",
        "www-authenticate 'Bearer realm=\"agentloop\"'",
    )
    for name, place in (("key", 1), ("seconds", 3), ("tester", 4)):
        yield f"http-request set-var(txn.{name}) var(txn.entry),field({place},:)"
    yield "http-request set-var(txn.limit) var(txn.entry),field(2,:),add(0)"
    limited = "{ var(txn.limit) -m int gt 0 }"
    for seconds in PERIODS:
        yield (
            f"http-request track-sc0 var(txn.key) table rate.{seconds} "
            f"if {limited} {{ var(txn.seconds) -m str {seconds} }}"
        )
    yield reply(
        429,
        "this key has used up its rate",
        "{ sc0_gpc0_rate,sub(txn.limit) ge 0 }",
        "retry-after %[var(txn.seconds)]",
    )
    # Only what is let through counts, so that a client which asks too fast gets its rate all the
    # same.
    yield f"http-request sc-inc-gpc0(0) if {limited}"


def trust(plan: EdgePlan) -> Iterator[str]:
    yield "acl trusted so_id 2"
    if plan.guards.keys:
        yield "acl trusted var(txn.tester) -m str 1"
    else:
        yield f"acl trusted {LOOPBACK}"


def stripping() -> Iterator[str]:
    yield from (f"http-request del-header {header}" for header in STRIPPED)
    yield "http-request del-header x-agentloop- -m beg unless trusted"


def tables(plan: EdgePlan) -> Iterator[str]:
    """Where rates and connections are counted; a reload begins them anew."""
    if plan.guards.keys:
        for seconds in PERIODS:
            yield section(
                f"backend rate.{seconds}",
                f"stick-table type string len 64 size 10k expire {2 * seconds}s "
                f"store gpc0_rate({seconds}s)",
            )
    if _faces_strangers(plan):
        yield section(
            "backend sources",
            "stick-table type ipv6 size 100k expire 60s store conn_cur",
        )


def log_ring(plan: EdgePlan) -> Iterator[str]:
    """HAProxy writes to memory and sends from there: a slow or absent reader costs lines at last,
    never a request."""
    if plan.guards.access_log:
        yield section(
            "ring access",
            "format raw",
            "maxlen 8192",
            "size 8388608",
            "timeout connect 1s",
            "timeout server 5s",
            f"server reader unix@{plan.run_dir / ACCESS_SOCKET}",
        )


def logging(plan: EdgePlan) -> Iterator[str]:
    if not plan.guards.access_log:
        return
    yield "log ring@access len 8192 format raw local0"
    yield "option dontlognull"
    fields = ",".join(f'"{name}":{value}' for name, value in _LOG_FIELDS)
    yield f"log-format '{{\"time\":%Ts.%ms,{fields}}}'"
    yield "http-request set-var(txn.began) date(0,ms)"
    yield "http-request set-var(txn.method) method"
    yield "http-request set-var(txn.path) path"
    yield f"http-request set-var(txn.path) str({INSIDE}) if {{ path_beg {INSIDE} }}"  # no secrets
    yield "http-request set-var(txn.trace) req.hdr(traceparent),field(2,-)"
    yield "http-response set-var(txn.version) res.hdr(x-model-version)"
    yield "http-after-response set-var(txn.status) status"
