"""An EdgePlan as HAProxy configuration: a pure function.

A model has two backends over the same versions: one in turn by weight, one by consistent hash of
``x-session-id``, so that a growing weight moves keys from the old version to the new one only.
Behind them each version has a listener of its own on a unix socket: it rewrites the path to the
version's application, and its counters are the rollout's evidence, rescued failures included.
Health checks run on the listener's server, and the rest tracks it, so that checks are no evidence.
"""

from __future__ import annotations

from collections.abc import Iterator

from agentloop.serving.edge_plan import EdgePlan, ModelRoute, VersionRoute
from agentloop.serving.naming import private_path, socket_path

JSON = "content-type application/json"
LOOPBACK = "src 127.0.0.0/8 ::1"
# Serve obeys these from any client: a timeout and a refusal to stop when the client is gone.
STRIPPED = ("x-request-timeout-seconds", "x-request-disconnect-disabled")
ADMIN_SOCKET = "admin.sock"
_ERRORS = {
    400: "the request is not valid HTTP",
    408: "the request took too long to arrive",
    500: "the edge failed",
    502: "the model broke off its answer",
    503: "no replica of this model is ready",
    504: "the model took too long to answer",
}


def render_haproxy_config(plan: EdgePlan) -> str:
    """The whole configuration file."""
    sections = [_globals(plan), _defaults(), _frontend(plan)]
    for model in plan.models:
        sections.append(_backend(plan, model, sticky=False))
        sections.append(_backend(plan, model, sticky=True))
        for version in model.versions:
            sections.append(_listener(plan, version))
            sections.append(_private(plan, model, version))
    sections.append(_section("backend nothing", _reply(404, "there is nothing at this path")))
    return "\n".join(sections)


def _section(title: str, *lines: str) -> str:
    return "\n".join([title, *(f"    {line}" for line in lines), ""])


def _quoted(reason: str) -> str:
    return '\'{"error":"' + reason + "\"}'"


def _reply(status: int, reason: str, condition: str = "") -> str:
    rule = f"http-request return status {status} {JSON} string {_quoted(reason)}"
    return f"{rule} if {condition}" if condition else rule


def _globals(plan: EdgePlan) -> str:
    return _section(
        "global",
        f"stats socket {plan.run_dir / ADMIN_SOCKET} mode 600 level admin expose-fd listeners",
        "maxconn 4096",
        # One thread carries ten times what the replicas of a machine can answer.
        "nbthread 1",
        "hard-stop-after 30s",
        # A request is rescued on another version only while it is in this buffer.
        "tune.bufsize 65536",
    )


def _defaults() -> str:
    errors = [
        f"http-error status {status} {JSON} string {_quoted(reason)}"
        for status, reason in _ERRORS.items()
    ]
    return _section(
        "defaults",
        "mode http",
        "timeout connect 2s",
        "timeout client 30s",
        "timeout server 60s",
        "timeout http-request 10s",
        "timeout http-keep-alive 60s",
        "timeout queue 5s",
        "http-reuse always",
        "option http-no-delay",
        *errors,
    )


def _frontend(plan: EdgePlan) -> str:
    host = f"[{plan.address.host}]" if ":" in plan.address.host else plan.address.host
    too_large = f"the body is over {plan.max_body_bytes} bytes"
    return _section(
        "frontend public",
        f"bind {host}:{plan.address.port}",
        "http-request set-var(txn.id) req.hdr(x-request-id)",
        "http-request set-var(txn.id) uuid() unless "
        "{ var(txn.id) -m reg ^[A-Za-z0-9._:-]{1,128}$ }",
        "http-request set-header x-request-id %[var(txn.id)]",
        "http-after-response set-header x-request-id %[var(txn.id)]",
        *(f"http-request del-header {header}" for header in STRIPPED),
        f"http-request del-header x-agentloop-probe unless {{ {LOOPBACK} }}",
        _reply(413, too_large, f"{{ req.body_size gt {plan.max_body_bytes} }}"),
        _reply(403, "this path is private", f"{{ path_beg /_versions/ }} !{{ {LOOPBACK} }}"),
        *_documents(plan),
        *_routes(plan),
        "default_backend nothing",
    )


def _documents(plan: EdgePlan) -> Iterator[str]:
    server = '{"name":"agentloop","version":"1","extensions":[]}'
    yield f"http-request return status 200 {JSON} string '{server}' if {{ path /v2 }}"
    live = "string '{\"live\":true}' if { path /v2/health/live }"
    yield f"http-request return status 200 {JSON} {live}"
    ups = " ".join(f"{{ nbsrv(model.{m.model}) ge 1 }}" for m in plan.models)
    if ups:
        ready = f"string '{{\"ready\":true}}' if {{ path /v2/health/ready }} {ups}"
        yield f"http-request return status 200 {JSON} {ready}"
    yield _reply(503, "not every model is ready", "{ path /v2/health/ready }")


def _routes(plan: EdgePlan) -> Iterator[str]:
    for model in plan.models:
        name = model.model
        for version in model.versions:
            prefix = private_path(name, version.version)
            yield f"use_backend private.{version.app} if {{ path_beg {prefix}/ }}"
        alone = " /invocations" if len(plan.models) == 1 else ""
        yield f"acl is.{name} path_beg /v2/models/{name}/"
        yield f"acl is.{name} path /v2/models/{name} /models/{name}/invocations{alone}"
        yield f"use_backend sticky.{name} if is.{name} {{ req.hdr(x-session-id) -m found }}"
        yield f"use_backend model.{name} if is.{name}"


def _backend(plan: EdgePlan, model: ModelRoute, *, sticky: bool) -> str:
    # In turn, not at random: HAProxy's random balance draws on a hash ring whose arcs differ from
    # the weights by some percent; turns meet them exactly.
    spread = ["balance roundrobin"]
    if sticky:
        spread = ["balance hash req.hdr(x-session-id)", "hash-type consistent"]
    servers = [
        f"server {version.version} unix@{socket_path(plan.run_dir, version.app)} "
        f"weight {version.weight} track version.{version.app}/app"
        for version in model.versions
    ]
    return _section(
        f"backend {'sticky' if sticky else 'model'}.{model.model}",
        *spread,
        # A prediction changes nothing, so a failed one is asked again of another version. That
        # needs the request whole in the buffer; waiting for it here and not in the frontend leaves
        # a body over the cap refused by its declared length.
        "option http-buffer-request",
        "option redispatch 1",
        "retries 2",
        "retry-on conn-failure empty-response 500 502 503 504",
        *servers,
    )


def _listener(plan: EdgePlan, version: VersionRoute) -> str:
    app = version.app
    return _section(
        f"listen version.{app}",
        f"bind unix@{socket_path(plan.run_dir, app)} mode 600",
        f"http-request set-path /{app}/invocations if {{ path_end /invocations }}",
        f"http-request set-path /{app}%[path] if !{{ path_end /invocations }}",
        "retries 1",
        "retry-on conn-failure",
        f"option httpchk GET /{app}/v2/health/ready",
        f"server app 127.0.0.1:{plan.address.serve_port} "
        "check inter 1s fastinter 200ms downinter 200ms rise 1 fall 3",
    )


def _private(plan: EdgePlan, model: ModelRoute, version: VersionRoute) -> str:
    prefix = private_path(model.model, version.version)
    return _section(
        f"backend private.{version.app}",
        "http-request set-header x-agentloop-probe 1",
        f"http-request set-path /{version.app}%[path,bytes({len(prefix)})]",
        f"server app 127.0.0.1:{plan.address.serve_port} track version.{version.app}/app",
    )
