"""What comes before HTTP: bytes that are no request are refused in our words, not in HAProxy's.

In ``mode http`` HAProxy's parser answers such bytes itself, with a page of HTML that is compiled
in. So a connection begins in ``mode tcp``, is taken for HTTP once its first request's headers are
there and can be read, and is else handed to a few lines of Lua, which answer 400 or 408. Only bytes
that follow a sound request on the same connection, and HTTP/0.9, still meet the parser's own page.
"""

from __future__ import annotations

from collections.abc import Iterator

from agentloop.serving.edge.haproxy_text import section
from agentloop.serving.edge.plan import EdgePlan

LUA_FILE = "refuse.lua"
# HAProxy's timers and its clock may differ by a tick; nothing is refused as malformed so late.
_LATE_MS = 50

LUA = """\
-- Answers what is no HTTP request, as agentloop.serving.edge.haproxy_doorman describes.
local words = {
  [400] = {"Bad Request", "the request is not valid HTTP"},
  [408] = {"Request Timeout", "the request took too long to arrive"},
}

core.register_service("refuse", "tcp", function(applet)
  local status = applet:get_var("txn.status")
  local body = '{"error":"' .. words[status][2] .. '"}'
  applet:send(
    "HTTP/1.1 " .. status .. " " .. words[status][1] .. "\\r\\n"
    .. "content-type: application/json\\r\\n"
    .. "content-length: " .. #body .. "\\r\\n"
    .. "x-request-id: " .. applet:get_var("txn.id") .. "\\r\\n"
    .. "connection: close\\r\\n\\r\\n" .. body
  )
end)
"""


def load(plan: EdgePlan) -> str:
    return f"lua-load {plan.run_dir / LUA_FILE}"


def first_bytes(plan: EdgePlan) -> Iterator[str]:
    """In the frontend, which is in ``mode tcp``: read on until it is HTTP, or is not."""
    most = round(plan.guards.header_seconds * 1000)
    yield "tcp-request session set-var(sess.began) date(0,ms)"
    yield f"tcp-request inspect-delay {most}ms"
    # These rules are asked again for each request of the connection.
    yield "tcp-request content accept if { var(sess.http) -m bool }"
    yield "tcp-request content set-var(sess.http) bool(true) if { ssl_fc_alpn h2 } || HTTP"
    yield "tcp-request content switch-mode http if { var(sess.http) -m bool }"
    # A probe of the port, or a connection opened ahead of need: nothing was asked.
    yield "tcp-request content reject unless { req.payload(0,1) -m found }"
    yield "tcp-request content set-var(txn.id) uuid()"
    yield "tcp-request content set-var(txn.began) var(sess.began)"
    yield "tcp-request content set-var(txn.status) int(400)"
    yield "tcp-request content set-var(txn.refused) bool(true)"
    # By way of a variable: of the date itself HAProxy would wait to see how it changes.
    yield "tcp-request content set-var(txn.waited) date(0,ms),sub(sess.began)"
    late = f"{{ var(txn.waited) -m int ge {most - _LATE_MS} }}"
    yield f"tcp-request content set-var(txn.status) int(408) if {late}"


def route() -> str:
    return "use_backend refuse if { var(txn.refused) -m bool }"


def backend() -> str:
    return section(
        "backend refuse",
        "mode tcp",
        "no option http-no-delay",
        "tcp-request content use-service lua.refuse",
    )
