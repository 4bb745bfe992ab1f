from itertools import product

import pytest

from agentloop.contracts import IllegalTransition, Stage
from agentloop.lifecycle import INITIAL_STAGE, TRANSITIONS, Trigger, next_stage

# The edges of the published diagram, spelt out once more on purpose.
DIAGRAM = [
    ("Development", "data ready", "Training"),
    ("Training", "training complete", "Validation"),
    ("Validation", "tests passed", "Staging"),
    ("Validation", "tests failed", "Development"),
    ("Staging", "staging tests passed", "Production"),
    ("Staging", "staging tests failed", "Development"),
    ("Production", "deployed", "Monitoring"),
    ("Monitoring", "healthy", "Production"),
    ("Monitoring", "performance degraded", "Rollback"),
    ("Rollback", "previous version restored", "Staging"),
    ("Production", "model deprecated", "Archived"),
]
UNDEFINED = [pair for pair in product(Stage, Trigger) if pair not in TRANSITIONS]


@pytest.mark.parametrize(("stage", "trigger", "after"), DIAGRAM)
def test_every_edge_of_the_diagram_is_taken(stage, trigger, after):
    assert next_stage(Stage(stage), Trigger(trigger)) is Stage(after)


def test_the_diagram_is_all_there_is():
    assert len(TRANSITIONS) == len(DIAGRAM)
    assert INITIAL_STAGE is Stage.DEVELOPMENT


@pytest.mark.parametrize(("stage", "trigger"), UNDEFINED)
def test_every_other_move_is_illegal(stage, trigger):
    with pytest.raises(IllegalTransition) as caught:
        next_stage(stage, trigger)
    assert (caught.value.stage, caught.value.trigger) == (stage, trigger)


def test_archived_is_the_end():
    assert not any(stage is Stage.ARCHIVED for stage, _ in TRANSITIONS)


def test_every_stage_can_be_reached():
    reached = {INITIAL_STAGE}
    for _ in Stage:
        reached |= {after for (before, _), after in TRANSITIONS.items() if before in reached}
    assert reached == set(Stage)
