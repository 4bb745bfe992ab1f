"""Every error of the tree: its code, its words, its way through a pickle."""

import copy
import dataclasses
import json
import pickle
import re

import pytest

from agentloop.contracts import AgentLoopError, DataQualityError, SpecError, SpecIssue, errors

SAMPLES = {
    "str": "some text",
    "int": 7,
    "str | None": "near",
    "tuple[str, ...]": ("one", "two"),
    "tuple[SpecIssue, ...]": (SpecIssue(3, "nam", "is not a known key", "key", "name"),),
}


def tree(root=AgentLoopError):
    for child in root.__subclasses__():
        yield child
        yield from tree(child)


CLASSES = sorted({c for c in tree() if c.__module__.startswith("agentloop.contracts")}, key=str)


def sample(cls):
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    required = [f for f in fields if f.default is dataclasses.MISSING]
    return cls(**{f.name: SAMPLES[str(f.type)] for f in required})


def documented():
    """(class, parent, codes) of each line of the tree in the docstring."""
    stack: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([│├└─ ]*)(\w+)(.*)", line)
        if found and hasattr(errors, found[2]):
            depth = len(found[1]) // 4
            del stack[depth:]
            yield found[2], (stack[-1] if stack else None), re.findall(r"\d\d", found[3])
            stack.append(found[2])


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
class TestEveryError:
    def test_says_what_happened_what_was_kept_and_what_to_do(self, cls):
        error = sample(cls)
        assert error.summary
        assert error.kept
        assert error.next_step
        assert str(error).splitlines()[-1] == f"Next: {error.next_step}"

    def test_survives_a_pickle_with_its_fields(self, cls):
        error = sample(cls)
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(twin) is cls
            assert (vars(twin), str(twin)) == (vars(error), str(error))

    def test_is_json_with_its_fields_and_code(self, cls):
        error = sample(cls)
        told = json.loads(json.dumps(error.as_dict()))
        assert told["error"] == cls.__name__
        assert told["exit_code"] == error.exit_code
        assert {f.name for f in dataclasses.fields(cls)} <= set(told) if vars(error) else True

    def test_is_public(self, cls):
        assert cls.__name__ in errors.__all__


def test_exit_codes_tell_errors_apart():
    codes = [sample(cls).exit_code for cls in CLASSES]
    assert len(set(codes)) == len(codes)
    assert not {0, 1, 2, 130} & set(codes)  # success, unexpected, usage, Ctrl-C


def test_the_documented_tree_is_the_tree():
    drawn = {name: parent for name, parent, _ in documented()}
    real = {c.__name__: c.__bases__[0].__name__ for c in CLASSES}
    assert drawn == {**real, "AgentLoopError": None}


def test_the_documented_codes_are_the_codes():
    codes = {name: [int(code) for code in found] for name, _, found in documented()}
    for cls in CLASSES:
        assert sample(cls).exit_code in codes[cls.__name__]


@pytest.mark.parametrize(
    ("kind", "code"), [("key", 10), ("value", 11), ("family", 12), ("syntax", 13), ("file", 14)]
)
def test_a_spec_error_exits_by_what_is_wrong(kind, code):
    assert SpecError("loop.yaml", (SpecIssue(1, "a", "is wrong", kind),)).exit_code == code


def test_a_rejected_batch_says_where_it_was_set_aside():
    assert "quarantine/b1" in DataQualityError(("too many nulls",), "quarantine/b1").kept


def test_an_error_can_be_raised_from_another_and_keeps_its_cause_in_the_process():
    cause = ValueError("no")
    with pytest.raises(DataQualityError) as caught:
        raise DataQualityError(("bad",)) from cause
    assert caught.value.__cause__ is cause
