"""Two versions compared."""

from __future__ import annotations

import numpy as np
import pytest

from agentloop.contracts import ColumnProfile, ColumnSchema, DataProfile, DataSchema, DatasetVersion
from agentloop.data.profiler import PROBABILITIES
from agentloop.data.shape_distance import shape_distance
from agentloop.data.version_diff import VersionDiff, compare_versions


def numbers(name: str, values: np.ndarray, nulls: int = 0) -> ColumnProfile:
    counts, edges = np.histogram(values, 20)
    return ColumnProfile(
        name,
        "number",
        values.size,
        nulls,
        np.unique(values).size,
        float(values.min()),
        float(values.max()),
        float(values.mean()),
        float(values.std()),
        {f"{p:g}": float(np.quantile(values, p)) for p in PROBABILITIES},
        (tuple(edges.tolist()), tuple(int(n) for n in counts)),
    )


def shares(name: str, **counts: int) -> ColumnProfile:
    top = tuple(sorted(counts.items(), key=lambda item: -item[1]))
    return ColumnProfile(name, "category", sum(counts.values()), 0, len(counts), top=top)


def diff(
    before: list[tuple[ColumnSchema, ColumnProfile]],
    after: list[tuple[ColumnSchema, ColumnProfile]],
    rows: tuple[int, int] = (100, 100),
) -> VersionDiff:
    versions, profiles = [], []
    for version, columns, count in zip("ab", (before, after), rows, strict=True):
        schema = DataSchema(tuple(spec for spec, _ in columns), columns[0][0].name)
        versions.append(DatasetVersion("demo", version, version, count, "", schema, "", ""))
        profiles.append(DataProfile(count, tuple(profile for _, profile in columns)))
    return compare_versions(*versions, *profiles)


def normal(shift: float, rows: int = 20_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, rows)


def test_equal_distributions_are_at_distance_0() -> None:
    column = numbers("x", normal(0))
    distance = shape_distance(column, column)
    assert distance is not None
    assert (distance.total_variation, distance.jensen_shannon) == (0, 0)


@pytest.mark.parametrize(("shift", "expected"), [(0.5, 0.197), (1.0, 0.383), (3.0, 0.866)])
def test_the_distance_of_numbers_is_near_the_true_one(shift: float, expected: float) -> None:
    """Of two normal distributions: 2 Φ(shift / 2) - 1."""
    distance = shape_distance(numbers("x", normal(0)), numbers("x", normal(shift, seed=1)))
    assert distance is not None
    assert distance.total_variation == pytest.approx(expected, abs=0.04)


def test_one_outlier_does_not_move_a_distribution() -> None:
    spoilt = np.append(normal(0), 1e12)
    distance = shape_distance(numbers("x", normal(0)), numbers("x", spoilt))
    assert distance is not None
    assert distance.total_variation < 0.02


def test_samples_of_one_distribution_are_near_each_other() -> None:
    for values in (np.repeat([0.0, 1.0], 5000), np.zeros(5000), np.arange(5000) % 7):
        first, second = numbers("x", values), numbers("x", np.append(values, values[:100]))
        distance = shape_distance(first, second)
        assert distance is not None
        assert distance.total_variation < 0.03


def test_distant_constants_have_nothing_in_common() -> None:
    distance = shape_distance(numbers("x", np.zeros(9)), numbers("x", np.ones(9)))
    assert distance is not None
    assert (distance.total_variation, distance.jensen_shannon) == (1, 1)


def test_the_distance_of_categories_is_half_the_sum_of_differences() -> None:
    distance = shape_distance(shares("c", a=50, b=50), shares("c", a=25, b=50, new=25))
    assert distance is not None
    assert distance.total_variation == pytest.approx(0.25)


def test_columns_that_come_and_go_are_named() -> None:
    x, y, z = (ColumnSchema(name, "number") for name in "xyz")
    profile = numbers("x", normal(0))
    made = diff([(x, profile), (y, profile)], [(x, profile), (z, profile)])
    assert (made.added, made.removed) == (("z",), ("y",))
    assert made.words[:2] == ("'y' is gone (number)", "'z' is new (number)")


def test_changes_of_the_schema_are_told_in_words() -> None:
    before = ColumnSchema("c", "category", categories=("a", "b"))
    after = ColumnSchema("c", "category", categories=("b", "d"), unique=True)
    made = diff([(before, shares("c", a=1, b=1))], [(after, shares("c", b=1, d=1))])
    assert [change.what for change in made.schema] == ["categories", "unique"]
    assert made.words[0] == "the categories of 'c' lost 'a' and gained 'd'"
    assert made.words[1] == "'c': unique was no, is yes"


def test_what_changed_most_is_told_first() -> None:
    x, y = ColumnSchema("x", "number"), ColumnSchema("y", "number")
    still = numbers("x", normal(0))
    made = diff(
        [(x, still), (y, numbers("y", normal(0)))],
        [(x, still), (y, numbers("y", normal(2, seed=1), nulls=5_000))],
        (100, 150),
    )
    assert [column.name for column in made.columns] == ["y", "x"]
    assert made.columns[0].median_shift == pytest.approx(1.48, abs=0.05)
    assert made.words[0] == "100 rows became 150 (+50.0%)"
    assert made.words[1] == "'y': nulls 0.0% → 20.0%"
    assert "interquartile ranges" in made.words[2]
    assert len(made.words) == 3


def test_a_version_differs_from_itself_in_nothing() -> None:
    version = DatasetVersion("demo", "a", "a", 1, "", DataSchema((), "y"), "", "")
    made = compare_versions(version, version, DataProfile(1, ()), DataProfile(1, ()))
    assert made.words == ("They are the same version.",)
