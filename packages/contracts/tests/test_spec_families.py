"""Families and the parameters that each of them has."""

import pytest
from pydantic import ValidationError

from agentloop.contracts import ModelSpec


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"family": "gradient-boosting", "parameters": {"hidden": [3]}}, "it has learning_rate"),
        ({"family": "auto", "parameters": {"epochs": 3}}, "it searches all of them"),
        ({"family": "auto", "search": {"trials": 0}}, "family auto is a search"),
        ({"family": "nowhere"}, "unknown model family"),
    ],
)
def test_what_a_family_cannot_take_is_refused(spec, reason):
    with pytest.raises(ValidationError, match=reason):
        ModelSpec.model_validate(spec)
