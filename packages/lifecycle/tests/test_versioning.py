from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.contracts import InvalidVersion
from agentloop.lifecycle import FIRST_BASE, ModelVersioning, parse_version

DATA, PARAMS = "AB" * 32, "0123456789"
numbers = st.integers(0, 10_000)
changes = st.sampled_from(["architecture", "improvement", "bugfix"])


def generate(base, change="bugfix", data=DATA, params=PARAMS):
    return ModelVersioning().generate_version(base, change, data, params)


@pytest.mark.parametrize(
    ("change", "raised"),
    [("architecture", "3.0.0"), ("improvement", "2.4.0"), ("bugfix", "2.3.5")],
)
def test_a_change_raises_its_part_and_resets_the_lower_ones(change, raised):
    assert generate("2.3.4", change) == f"{raised}-abababab-01234567"


def test_a_base_with_metadata_counts_by_its_numbers():
    assert generate("2.3.4-00000000-11111111") == generate("2.3.4")


def test_the_first_version_of_all_is_one():
    assert generate(FIRST_BASE, "architecture").startswith("1.0.0-")


@given(numbers, numbers, numbers, changes)
def test_a_new_version_is_always_above_its_base(major, minor, patch, change):
    base = f"{major}.{minor}.{patch}"
    assert parse_version(generate(base, change)) > parse_version(base)


@given(numbers, numbers, numbers)
def test_architecture_outranks_improvement_outranks_bugfix(major, minor, patch):
    base = f"{major}.{minor}.{patch}"
    ranked = [parse_version(generate(base, c)) for c in ("bugfix", "improvement", "architecture")]
    assert ranked == sorted(ranked)
    assert len(set(ranked)) == 3


@given(numbers, numbers, numbers, changes)
def test_a_version_can_be_the_next_base(major, minor, patch, change):
    version = generate(f"{major}.{minor}.{patch}", change)
    assert generate(version, change).endswith("-abababab-01234567")


@pytest.mark.parametrize(
    "base",
    ["", "1", "1.2", "1.2.3.4", "v1.2.3", "01.2.3", "1.2.3-", "1.2.3-abc-def", "1.2.3 ", "-1.0.0",
     "1.2.3-0000000g-11111111", "1.2.3-00000000-11111111-2", "1.2.3\n", None, 1],
)  # fmt: skip
def test_any_other_base_is_refused(base):
    with pytest.raises(InvalidVersion):
        generate(base)


@given(st.text(max_size=12))
def test_any_text_is_a_version_or_a_typed_error(base):
    with suppress(InvalidVersion):
        parse_version(generate(base))


@pytest.mark.parametrize("change", ["", "major", "Bugfix", None])
def test_any_other_change_is_refused(change):
    with pytest.raises(InvalidVersion):
        generate("1.0.0", change)


@pytest.mark.parametrize("digest", ["", "abc", "0123456", "not-a-hash", "0x123456789", None])
def test_any_other_hash_is_refused(digest):
    with pytest.raises(InvalidVersion):
        generate("1.0.0", data=digest)
    with pytest.raises(InvalidVersion):
        generate("1.0.0", params=digest)
