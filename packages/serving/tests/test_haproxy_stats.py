"""Counts of first tries, from the numbers that HAProxy gave for one retry a request."""

from __future__ import annotations

from pathlib import Path

from agentloop.contracts.traffic import TrafficSplit
from agentloop.serving.control.store import EdgeAddress, StagedVersion
from agentloop.serving.edge.guards import EdgeGuards
from agentloop.serving.edge.haproxy_stats import as_traffic, parse_stats
from agentloop.serving.edge.plan import plan_edge

HEAD = "# pxname,svname,status,stot,req_tot,hrsp_5xx,wretr,ttime"
STAGED = [StagedVersion("m", version, "/b", "d") for version in ("v1", "v2")]
SPLIT = TrafficSplit("m", {"v1": 95.0, "v2": 5.0}, "v1", 1)
PLAN = plan_edge(EdgeAddress("127.0.0.1", 1, 2), Path("/tmp"), EdgeGuards(), STAGED, [SPLIT])


def counts(*rows):
    """Of v1 and v2."""
    found = parse_stats("\n".join([HEAD, *rows]), PLAN)
    return found["m", "v1"], found["m", "v2"]


def test_a_request_that_nobody_can_answer_is_an_error_of_the_version_asked_first():
    # 200 answered, then 100 that both versions fail: seen at 95 to 5
    first, second = counts(
        "model.m,v1,UP,290,190,0,100,",
        "model.m,v2,UP,110,110,100,0,",
        "version.m--v1,FRONTEND,OPEN,1,290,100,,",
        "version.m--v2,FRONTEND,OPEN,1,110,100,,",
    )
    assert (first.requests, first.errors, first.rescued) == (290, 100, 100)
    assert (second.requests, second.errors, second.rescued) == (10, 0, 0)
    assert (first.dealt, second.dealt) == (290, 110)


def test_what_could_not_be_asked_again_counts_too():
    first, second = counts(
        "model.m,v1,UP,190,190,0,0,",
        "model.m,v2,UP,10,10,4,1,",
        "version.m--v1,FRONTEND,OPEN,1,190,0,,",
        "version.m--v2,FRONTEND,OPEN,1,10,5,,",
    )
    assert (second.errors, second.rescued, second.dealt_errors) == (5, 1, 5)
    assert (first.requests, first.errors) == (189, 0)


def test_sessions_are_counted_but_were_not_dealt():
    text = "\n".join(
        [
            HEAD,
            "model.m,v2,UP,10,10,0,1,",
            "sticky.m,v2,UP,30,30,0,2,",
            "version.m--v2,FRONTEND,OPEN,1,40,3,,",
        ]
    )
    found = {t.version: t for t in as_traffic(PLAN, "m", parse_stats(text, PLAN))}["v2"]
    assert (found.requests, found.errors, found.rescued) == (40, 3, 3)
    assert (found.dealt, found.dealt_errors) == (10, 1)
