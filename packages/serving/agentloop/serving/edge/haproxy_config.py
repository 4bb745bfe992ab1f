"""An EdgePlan as HAProxy configuration: a pure function.

A model has two backends over the same versions: one in turn by weight, one by the bucket of
``x-session-id``, so that a growing weight moves sessions from the old version to the new one only.
Behind them each version has a listener of its own on a unix socket: it rewrites the path to the
version's application, and its counters are the rollout's evidence, rescued failures included.
Health checks run on the listener's server, and the rest tracks it, so that checks are no evidence.
"""

from __future__ import annotations

from collections.abc import Iterator

from agentloop.serving.edge import haproxy_doorman as doorman
from agentloop.serving.edge import haproxy_guards as guard
from agentloop.serving.edge.haproxy_text import JSON, quoted, reply, section
from agentloop.serving.edge.plan import EdgePlan, ModelRoute, VersionRoute
from agentloop.serving.naming import private_path, socket_path

ADMIN_SOCKET = "admin.sock"
ROUTES_MAP = "routes.map"
GRACE_SECONDS = 1.0
RETRY = " hdr retry-after 1"
_ERRORS = {
    400: "the request is not valid HTTP",
    408: "the request took too long to arrive",
    413: "the request is too large",
    500: "the edge failed",
    502: "the model broke off its answer",
    503: "no replica of this model is ready",
    504: "the model took too long to answer",
}


def render_haproxy_config(plan: EdgePlan) -> str:
    """The whole configuration file."""
    sections = [_globals(plan), *guard.log_ring(plan), _defaults(plan), _frontend(plan)]
    for model in plan.models:
        sections.append(_backend(plan, model, sticky=False))
        sections.append(_backend(plan, model, sticky=True))
        for version in model.versions:
            sections.append(_listener(plan, model, version))
            sections.append(_private(plan, model, version))
    sections.append(section("backend nothing", reply(404, "there is nothing at this path")))
    sections.append(doorman.backend())
    sections.extend(guard.tables(plan))
    return "\n".join(sections)


def route_entries(plan: EdgePlan) -> dict[str, str]:
    """What is looked up per request, and changed without a reload: where the buckets of a version's
    application end, and which version, if any, has all of a model's traffic on trial."""
    ends = {v.app: str(v.until) for model in plan.models for v in model.versions}
    return ends | {f"sole.{model.model}": str(_place(model)) for model in plan.models}


def _place(model: ModelRoute) -> int:
    """Of the version on trial, from 1; 0 where there is none."""
    versions = [version.version for version in model.versions]
    return versions.index(model.sole) + 1 if model.sole else 0


def _globals(plan: EdgePlan) -> str:
    return section(
        "global",
        f"stats socket {plan.run_dir / ADMIN_SOCKET} mode 600 level admin expose-fd listeners",
        "maxconn 4096",
        # One thread carries ten times what the replicas of a machine can answer.
        "nbthread 1",
        # Longer than a client may keep an idle connection; see option idle-close-on-response.
        "hard-stop-after 45s",
        # A request is rescued on another version only while it is in this buffer.
        "tune.bufsize 65536",
        "tune.http.maxhdr 1024",  # so that a rule may refuse them, with words
        doorman.load(plan),
        *(["tune.ssl.default-dh-param 2048"] if plan.guards.tls else []),
    )


def _defaults(plan: EdgePlan) -> str:
    errors = [
        f"http-error status {status} {JSON}{RETRY if status == 503 else ''} string {quoted(reason)}"
        for status, reason in _ERRORS.items()
    ]
    # The version's own listener answers 504 at the limit; this one only where that does not.
    most = plan.guards.timeout_seconds + GRACE_SECONDS
    return section(
        "defaults",
        "mode http",
        "timeout connect 2s",
        # A pause in a body, or in reading an answer; not the time that the model takes.
        f"timeout client {_ms(plan.guards.header_seconds)}",
        f"timeout server {_ms(most)}",
        f"timeout http-request {_ms(plan.guards.header_seconds)}",
        "timeout http-keep-alive 30s",
        "timeout queue 5s",
        "http-reuse always",
        "option http-no-delay",
        *errors,
    )


def _ms(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _frontend(plan: EdgePlan) -> str:
    return section(
        "frontend public",
        "mode tcp",
        *guard.binds(plan),
        # x_api_key and x-api-key are one name to some servers: what is ambiguous goes no further.
        "option http-restrict-req-hdr-names delete",
        # On a reload an idle connection is closed with its next answer. Closed at once it would
        # race with a request on its way, which would then be lost.
        "option idle-close-on-response",
        *guard.connection_caps(plan),
        *doorman.first_bytes(plan),
        *guard.request_ids(),
        *guard.inside_door(plan),
        *guard.logging(plan),
        *guard.size_caps(plan),
        *_health(plan),
        *guard.keys(plan),
        *guard.trust(plan),
        "http-request set-var(txn.pin) req.hdr(x-agentloop-version)",
        reply(403, "only a tester may ask for a version", "{ var(txn.pin) -m found } !trusted"),
        *guard.stripping(),
        reply(403, "this path is private", "{ path_beg /_versions/ } !trusted"),
        f"http-request return status 200 {JSON} string '{_SERVER}' if {{ path /v2 }}",
        *_rules(plan),
        doorman.route(),
        *_routes(plan),
        "default_backend nothing",
    )


_SERVER = '{"name":"agentloop","version":"1","extensions":["binary_tensor_data"]}'


def _health(plan: EdgePlan) -> Iterator[str]:
    """Asked by load balancers, which have no key, and telling nothing else."""
    live = "string '{\"live\":true}' if { path /v2/health/live }"
    yield f"http-request return status 200 {JSON} {live}"
    ups = " ".join(f"{{ nbsrv(model.{m.model}) ge 1 }}" for m in plan.models)
    if ups:
        ready = f"string '{{\"ready\":true}}' if {{ path /v2/health/ready }} {ups}"
        yield f"http-request return status 200 {JSON} {ready}"
    yield reply(503, "not every model is ready", "{ path /v2/health/ready }", "retry-after 1")


def _rules(plan: EdgePlan) -> Iterator[str]:
    """Which model is meant, and which version where a tester names one."""
    for model in plan.models:
        name = model.model
        alone = " /invocations" if len(plan.models) == 1 else ""
        yield f"acl is.{name} path_beg /v2/models/{name}/"
        yield f"acl is.{name} path /v2/models/{name} /models/{name}/invocations{alone}"
        if plan.guards.access_log:
            private = f"{{ path_beg {private_path(name, '')} }}"
            yield f"http-request set-var(txn.model) str({name}) if is.{name} or {private}"
        for version in model.versions:
            pinned = f"{{ var(txn.pin) -m str {version.version} }} is.{name}"
            prefix = private_path(name, version.version)
            yield f"http-request set-path {prefix}%[path] if {pinned}"
    unknown = "{ var(txn.pin) -m found } !{ path_beg /_versions/ }"
    yield reply(404, "no such version of this model is staged", unknown)


def _routes(plan: EdgePlan) -> Iterator[str]:
    for model in plan.models:
        name = model.model
        for version in model.versions:
            prefix = private_path(name, version.version)
            yield f"use_backend private.{version.app} if {{ path_beg {prefix}/ }}"
        yield f"use_backend sticky.{name} if is.{name} {{ req.hdr(x-session-id) -m found }}"
        yield f"use_backend model.{name} if is.{name}"


def _backend(plan: EdgePlan, model: ModelRoute, *, sticky: bool) -> str:
    servers = [
        f"server {version.version} unix@{socket_path(plan.run_dir, version.app)} "
        f"weight {version.weight if sticky else version.turns} track version.{version.app}/app"
        for version in model.versions
    ]
    return section(
        f"backend {'sticky' if sticky else 'model'}.{model.model}",
        # In turn, not at random: HAProxy's random balance draws on a hash ring whose arcs differ
        # from the weights by some percent; turns meet them exactly.
        "balance roundrobin",
        *(_sessions(plan, model) if sticky else _sole(plan, model)),
        # A prediction changes nothing, so a failed one is asked again of another version. That
        # needs the request whole in the buffer; waiting for it here and not in the frontend leaves
        # a body over the cap refused by its declared length. What ran out of time is not asked
        # again: its client has waited as long as it should.
        "option http-buffer-request",
        "option redispatch 1",
        # One retry: with more, a request that no version can answer would be counted twice against
        # the version that was asked first.
        "retries 1",
        "retry-on conn-failure empty-response 500 502 503",
        *servers,
    )


def _sole(plan: EdgePlan, model: ModelRoute) -> Iterator[str]:
    """Turns know no server that is asked only in need, so the one on trial is named instead."""
    if len(model.versions) > 1:
        found = f"str(sole.{model.model}),map_str_int({plan.run_dir / ROUTES_MAP},0)"
        yield f"http-request set-var(txn.sole) {found}"
        for place, version in enumerate(model.versions, 1):
            yield f"use-server {version.version} if {{ var(txn.sole) -m int {place} }}"


def _sessions(plan: EdgePlan, model: ModelRoute) -> Iterator[str]:
    """A session's bucket decides, and turns do where the version it names is down or failed."""
    ends = plan.run_dir / ROUTES_MAP
    buckets = "req.hdr(x-session-id),xxh32,mod(10000)"
    yield f"http-request set-var(txn.bucket) {buckets}"
    for number, version in enumerate(model.versions):
        yield f"http-request set-var(txn.end{number}) str({version.app}),map_str_int({ends},0)"
    for number, version in enumerate(model.versions):
        below = f"{{ var(txn.bucket),sub(txn.end{number}) lt 0 }}"
        yield f"use-server {version.version} if {below}"


def _listener(plan: EdgePlan, model: ModelRoute, version: VersionRoute) -> str:
    app = version.app
    return section(
        f"listen version.{app}",
        f"bind unix@{socket_path(plan.run_dir, app)} mode 600",
        *_shadow(model, version),
        f"http-request set-path /{app}/invocations if {{ path_end /invocations }}",
        f"http-request set-path /{app}%[path] if !{{ path_end /invocations }}",
        f"timeout server {_ms(plan.guards.timeout_seconds)}",
        "retries 1",
        "retry-on conn-failure",
        f"option httpchk GET /{app}/v2/health/ready",
        f"server app 127.0.0.1:{plan.address.serve_port} "
        "check inter 1s fastinter 200ms downinter 200ms rise 1 fall 3",
    )


def _shadow(model: ModelRoute, version: VersionRoute) -> Iterator[str]:
    """The replica itself sends the copy, after it has answered."""
    shadow = model.shadow
    if shadow is not None and shadow.of == version.version:
        sampled = f"{{ rand(10000) lt {round(shadow.percent * 100)} }}"
        yield f"http-request set-header x-agentloop-shadow {shadow.app} if {sampled}"


def _private(plan: EdgePlan, model: ModelRoute, version: VersionRoute) -> str:
    prefix = private_path(model.model, version.version)
    return section(
        f"backend private.{version.app}",
        "http-request set-header x-agentloop-probe 1",
        f"http-request set-path /{version.app}%[path,bytes({len(prefix)})]",
        f"http-request set-path /{version.app}/invocations if {{ path_end /invocations }}",
        f"timeout server {_ms(plan.guards.timeout_seconds)}",
        f"server app 127.0.0.1:{plan.address.serve_port} track version.{version.app}/app",
    )
