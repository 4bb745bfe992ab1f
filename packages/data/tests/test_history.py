"""References to versions."""

from __future__ import annotations

import pytest

from agentloop.contracts import DataVersionNotFound
from agentloop.data.history import Acceptance, resolve

VERSIONS = ("aaa111", "aab222", "bbb333", "aaa111", "aaa111")
LOG = tuple(Acceptance("demo", version, "2026", 1, 1, 1, "commit") for version in VERSIONS)


@pytest.mark.parametrize(
    ("reference", "version"),
    [
        ("latest", "aaa111"),
        ("latest~0", "aaa111"),
        ("latest~1", "bbb333"),
        ("latest~2", "aab222"),
        ("aab", "aab222"),
        ("b", "bbb333"),
        ("bbb333", "bbb333"),
    ],
)
def test_a_reference_names_one_version(reference: str, version: str) -> None:
    assert resolve("demo", reference, LOG) == version


@pytest.mark.parametrize("reference", ["aa", "latest~3", "nope", "", "aaa1111"])
def test_a_reference_to_none_or_several_is_refused_with_what_there_is(reference: str) -> None:
    with pytest.raises(DataVersionNotFound) as caught:
        resolve("demo", reference, LOG)
    assert set(caught.value.known) == {"aaa111", "aab222", "bbb333"}


def test_the_nearest_version_comes_first() -> None:
    with pytest.raises(DataVersionNotFound) as caught:
        resolve("demo", "bbb334", LOG)
    assert caught.value.known[0] == "bbb333"


def test_a_dataset_without_versions_is_not_there() -> None:
    with pytest.raises(DataVersionNotFound, match="no dataset 'demo'"):
        resolve("demo", "latest", ())
