"""The edge as data: weights, duties, HAProxy's configuration and counters."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.contracts import EdgeExposed, TrafficSplit
from agentloop.serving.control.store import Bake, EdgeAddress, StagedVersion
from agentloop.serving.edge.duties import RetireVersion, ReturnToStable, due
from agentloop.serving.edge.guards import EdgeGuards, Inside
from agentloop.serving.edge.haproxy_config import ROUTES_MAP, render_haproxy_config
from agentloop.serving.edge.haproxy_doorman import LUA, LUA_FILE
from agentloop.serving.edge.haproxy_guards import KEYS_MAP
from agentloop.serving.edge.haproxy_process import binary
from agentloop.serving.edge.haproxy_stats import Counts, as_traffic, parse_stats
from agentloop.serving.edge.plan import MAX_WEIGHT, plan_edge, scale_weights, session_ends

FOLDER = Path("/tmp/al-0-00000000")
ADDRESS = EdgeAddress("127.0.0.1", 8700, 9000)
V1, V2 = "0.1.0-aaaaaaaa-bbbbbbbb", "0.2.0-aaaaaaaa-bbbbbbbb"
STAGED = [StagedVersion("m", V1, "/b1", "d1"), StagedVersion("m", V2, "/b2", "d2")]
SPLIT = TrafficSplit("m", {V1: 90.0, V2: 10.0}, V1, 2, lease_until=50.0)


def plan(staged=STAGED, splits=(SPLIT,), guards=None, address=ADDRESS, folder=FOLDER, **more):
    return plan_edge(address, folder, guards or EdgeGuards(), staged, splits, **more)


@pytest.mark.parametrize("percent", [1, 5, 10, 25, 33, 50, 75, 90, 99, 100])
def test_integer_weights_meet_round_percentages(percent):
    scaled = scale_weights({"a": percent, "b": 100 - percent})
    assert 100 * scaled["a"] / sum(scaled.values()) == pytest.approx(percent, abs=1e-9)
    assert max(scaled.values()) <= MAX_WEIGHT


@given(st.lists(st.floats(0, 100), min_size=1, max_size=4))
def test_weights_stay_in_range_and_nothing_with_traffic_loses_it(percents):
    given_weights = {str(i): value for i, value in enumerate(percents)}
    scaled = scale_weights(given_weights)
    assert all(0 <= weight <= MAX_WEIGHT + len(percents) for weight in scaled.values())
    total = sum(percents)
    for key, value in given_weights.items():
        if total > 0 and value / total > 0:
            assert scaled[key] >= 1


def test_a_staged_version_without_a_split_has_weight_zero():
    found = plan(splits=()).routes
    assert {key: (r.weight, r.turns, r.until) for key, r in found.items()} == {
        ("m", V1): (0, 0, 0),
        ("m", V2): (0, 0, 0),
    }


def test_a_retiring_version_is_out_of_the_edge():
    staged = [STAGED[0], StagedVersion("m", V2, "/b2", "d2", retiring=True)]
    assert [v.version for v in plan(staged).models[0].versions] == [V1]


def test_the_configuration_is_what_it_was():
    golden = Path(__file__).with_name("edge_golden.cfg")
    assert render_haproxy_config(plan()) == golden.read_text(encoding="utf-8")


GUARDS = {
    "none": EdgeGuards(),
    "keys": EdgeGuards(keys=True, access_log=True, inside=Inside(8701, "secret")),
    "open": EdgeGuards(insecure=True),
}
HOSTS = {"none": "127.0.0.1", "keys": "::1", "open": "::"}


@pytest.mark.parametrize("guards", GUARDS)
@pytest.mark.parametrize("staged", [[], STAGED[:1], [*STAGED, StagedVersion("n", V1, "/", "d")]])
def test_haproxy_accepts_every_configuration(staged, guards, tmp_path):
    path = tmp_path / "haproxy.cfg"
    address = EdgeAddress(HOSTS[guards], 8700, 9000)
    asked = plan(staged, guards=GUARDS[guards], folder=tmp_path, address=address)
    path.write_text(render_haproxy_config(asked), encoding="utf-8")
    for name in (KEYS_MAP, ROUTES_MAP):
        (tmp_path / name).touch()
    (tmp_path / LUA_FILE).write_text(LUA)
    result = subprocess.run(
        [binary(), "-c", "-f", str(path)], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    warnings = [line for line in result.stderr.splitlines() if "WARNING" in line]
    # The frontend begins in TCP mode; its log waits for the end of the request all the same.
    harmless = "HTTP log/header format not usable with frontend 'public'"
    assert [line for line in warnings if harmless not in line] == []


@pytest.mark.parametrize(
    "guards", [EdgeGuards(), EdgeGuards(keys=True), EdgeGuards(certificate="c", key="k")]
)
def test_no_plan_lets_strangers_in_unguarded(guards):
    with pytest.raises(EdgeExposed):
        plan(guards=guards, address=EdgeAddress("0.0.0.0", 8700, 9000))


@pytest.mark.parametrize(
    "guards", [EdgeGuards(insecure=True), EdgeGuards(keys=True, certificate="c", key="k")]
)
def test_a_guarded_plan_may_face_strangers(guards):
    address = EdgeAddress("0.0.0.0", 8700, 9000, guards.tls)
    assert plan(guards=guards, address=address).address.url.endswith("0.0.0.0:8700")


def test_a_version_that_is_cut_off_leaves_its_share_to_the_rest():
    found = plan(closed=[("m", V2)]).routes
    assert found["m", V2].weight == found["m", V2].turns == 0
    assert (found["m", V1].weight > 0, found["m", V1].until) == (True, 10_000)


def test_where_the_only_version_with_traffic_is_cut_off_stable_takes_it_all():
    split = TrafficSplit("m", {V1: 0.0, V2: 100.0}, V1, 2, lease_until=50.0)
    found = plan(splits=[split], closed=[("m", V2)]).routes
    assert found["m", V1].weight > 0
    assert found["m", V2].weight == 0


@given(st.lists(st.floats(0, 100), min_size=2, max_size=4))
def test_sessions_are_all_somewhere_and_in_order(percents):
    ends = session_ends({str(i): value for i, value in enumerate(percents)})
    values = list(ends.values())
    assert values == sorted(values)
    assert values[-1] == (10_000 if sum(percents) > 0 else 0)


def test_an_a_b_test_leaves_turns_to_stable():
    split = TrafficSplit("m", {V1: 50.0, V2: 50.0}, V1, 2, by_session=True)
    found = plan(splits=[split]).routes
    assert (found["m", V1].turns > 0, found["m", V2].turns) == (True, 0)
    assert found["m", V1].weight == found["m", V2].weight


def test_the_version_that_has_all_on_trial_is_rescued_on_stable():
    split = TrafficSplit("m", {V1: 0.0, V2: 100.0}, V1, 2, lease_until=50.0)
    asked = plan(splits=[split])
    assert asked.models[0].sole == V2
    assert asked.routes["m", V1].weight > 0
    traffic = {t.version: t.weight for t in as_traffic(asked, "m", {})}
    assert traffic == {V1: 0.0, V2: 100.0}
    settled = TrafficSplit("m", {V1: 0.0, V2: 100.0}, V2, 3)
    assert plan(splits=[settled]).models[0].sole == ""
    assert plan(splits=[settled]).routes["m", V1].weight == 0


def test_only_a_staged_version_is_shadowed():
    split = TrafficSplit("m", {V1: 100.0}, V1, 2, shadow=V2, shadow_percent=5.0)
    assert plan(splits=[split]).models[0].shadow.app == f"m--{V2}"
    assert plan(STAGED[:1], [split]).models[0].shadow is None


def test_nothing_is_due_while_lease_and_bake_last():
    assert due([SPLIT], [Bake("m", "0.0.1", 60.0)], STAGED, now=49.0) == ()


def test_an_ended_lease_returns_traffic_to_stable():
    (duty,) = due([SPLIT], [], STAGED, now=50.0)
    assert isinstance(duty, ReturnToStable)
    assert duty.split.weights == {V1: 100.0, V2: 0.0}
    assert (duty.split.epoch, duty.split.lease_until) == (3, None)


def test_an_ended_bake_retires_but_never_what_has_traffic():
    settled = TrafficSplit("m", {V1: 0.0, V2: 100.0}, V2, 3)
    bakes = [Bake("m", V1, 5.0), Bake("m", V2, 5.0)]
    assert due([settled], bakes, STAGED, now=9.0) == (RetireVersion("m", V1),)


def test_an_interrupted_retirement_is_finished():
    settled = TrafficSplit("m", {V2: 100.0}, V2, 3)
    retiring = [StagedVersion("m", V1, "/b1", "d1", retiring=True)]
    assert due([settled], [], retiring, now=0.0) == (RetireVersion("m", V1),)


def test_counters_are_read_from_the_versions_own_listener():
    text = "\n".join(
        [
            "# pxname,svname,status,req_tot,hrsp_5xx,wretr,ttime,",
            f"version.m--{V2},FRONTEND,OPEN,12,3,,,",
            f"version.m--{V2},app,UP,,3,0,4,",
            f"model.m,{V2},UP,,0,2,4,",
            f"sticky.m,{V2},UP,,0,1,4,",
        ]
    )
    counts = parse_stats(text, plan())
    assert counts["m", V2] == Counts(12, 3, 3, True, 4.0, 0, 2)
    later = {key: found.plus(Counts(100, 1)) for key, found in counts.items()}
    traffic = as_traffic(plan(), "m", later)
    assert [(t.version, t.weight, t.requests, t.errors) for t in traffic] == [
        (V1, 90.0, 100, 1),
        (V2, 10.0, 112, 4),
    ]
