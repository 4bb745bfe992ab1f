"""Equal work has equal keys; an interrupted run goes on; a forced one is new."""

from __future__ import annotations

from agentloop.contracts import parse_spec
from agentloop.loop.run_keys import PastWorkflow, plan_run, run_key, training_key

TEXT = "name: m\ndata: {source: {kind: csv, path: a.csv}, target: y}\n"
SPEC = parse_spec(TEXT)


def test_spec_and_source_name_the_run() -> None:
    other = parse_spec(TEXT + "rollout: {bake_seconds: 5}\n")
    assert run_key(SPEC, "f1") == run_key(parse_spec(TEXT), "f1")
    assert len({run_key(SPEC, "f1"), run_key(SPEC, "f2"), run_key(other, "f1")}) == 3


def test_only_what_training_depends_on_names_the_model() -> None:
    rollout = parse_spec(TEXT + "rollout: {bake_seconds: 5}\n")
    seed = parse_spec(TEXT + "model: {seed: 7}\n")
    assert training_key(SPEC, "d1", 0) == training_key(rollout, "d1", 0)
    keys = {training_key(SPEC, "d1", 0), training_key(SPEC, "d2", 0), training_key(SPEC, "d1", 1)}
    assert len(keys | {training_key(seed, "d1", 0)}) == 4


def test_the_first_run_is_round_0() -> None:
    plan = plan_run("m", "k", [], False)
    assert (plan.workflow_id, plan.training_round, plan.resumed) == ("m:k:0:0", 0, False)


def test_an_interrupted_run_goes_on_even_when_forced() -> None:
    past = [PastWorkflow("m:k:0:0", "SUCCESS"), PastWorkflow("m:k:1:1", "PENDING")]
    plan = plan_run("m", "k", past, True)
    assert (plan.workflow_id, plan.training_round, plan.resumed) == ("m:k:1:1", 1, True)


def test_force_after_a_success_trains_another_round() -> None:
    past = [PastWorkflow("m:k:0:0", "SUCCESS")]
    assert plan_run("m", "k", past, True).training_round == 1
    assert plan_run("m", "k", past, False).training_round == 0


def test_a_failed_forced_run_is_tried_again_in_the_same_round() -> None:
    past = [PastWorkflow("m:k:0:0", "SUCCESS"), PastWorkflow("m:k:1:1", "ERROR")]
    plan = plan_run("m", "k", past, True)
    assert (plan.workflow_id, plan.training_round) == ("m:k:1:2", 1)


def test_an_interrupted_run_of_another_key_is_superseded() -> None:
    past = [PastWorkflow("m:old:0:0", "PENDING"), PastWorkflow("other:k:0:0", "PENDING")]
    assert plan_run("m", "k", past, False).superseded == ("m:old:0:0",)


def test_rounds_go_on_when_only_the_rollout_changes() -> None:
    past = [PastWorkflow("m:k:0:0", "SUCCESS"), PastWorkflow("m:k:1:1", "SUCCESS")]
    assert plan_run("m", "other", past, False).training_round == 1
    assert plan_run("m", "other", past, True).training_round == 2
    assert plan_run("n", "other", past, True).training_round == 0
