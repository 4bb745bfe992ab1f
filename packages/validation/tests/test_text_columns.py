"""The suites judge a model that reads text, with numbers beside it and alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from agentloop.contracts import ColumnSchema, DataSchema, GateSpec
from agentloop.lifecycle import InputColumn, Signature, build_reference, fit_features
from agentloop.validation import Candidate
from agentloop.validation.data_drift import data_drift_checks
from agentloop.validation.robustness import robustness_checks

GOOD, BAD = "the pump runs well today", "the pump is loud and hot"


def tables(rows: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    bad = rng.random(rows) < 0.5
    notes = np.where(bad, BAD, GOOD).astype(object)
    truth = np.where(bad, "bad", "good").astype(object)
    return {"x": rng.normal(size=rows), "note": notes, "truth": truth}


def judged(names: tuple[str, ...], longer: int = 1) -> dict[str, Any]:
    """Every check of a model that answers ``bad`` where the note has the word ``loud``."""
    kinds = {"x": "number", "note": "text", "truth": "category"}
    columns = tuple(ColumnSchema(name, kinds[name]) for name in (*names, "truth"))  # type: ignore[arg-type]
    schema = DataSchema(columns, "truth")
    train, held = tables(600, 0), tables(300, 1)
    held["note"] = np.array([note + " again" * (longer - 1) for note in held["note"]], object)
    pipeline = fit_features(train, schema)
    loud = pipeline.width - len(pipeline.text[0].terms) + pipeline.text[0].terms.index("loud")

    def score(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        bad = np.where(matrix[:, loud] > 0, 0.9, 0.1)
        return np.stack([bad, 1 - bad], axis=1).astype(np.float32)

    inputs = tuple(InputColumn(n, "FP64" if n == "x" else "BYTES") for n in pipeline.names)
    signature = Signature("notes", "binary", inputs, "truth", ("bad", "good"))
    raw = {name: held[name] for name in pipeline.names}
    truth = held["truth"]
    candidate = Candidate(signature, pipeline, score, raw, truth, pipeline.transform(raw))
    reference = build_reference(train, schema, train["truth"], text=["note"])
    rng, clean = np.random.default_rng(0), candidate.answers(candidate.matrix)
    assert (clean == truth).all()
    checks = (
        *robustness_checks(candidate, clean, GateSpec(), rng),
        *data_drift_checks(candidate, reference, None, rng),
    )
    return {check.name: check for check in checks}


def test_lost_texts_are_missing_values() -> None:
    checks = judged(("x", "note"))
    # A tenth of the notes are lost; half of those were of bad pumps, and are answered wrong.
    assert checks["missing_drop"].value == pytest.approx(0.05, abs=0.02)
    assert checks["noise_drop"].value == 0
    assert checks["holdout_vs_training"].passed


def test_a_model_of_text_alone_has_no_number_to_attack() -> None:
    checks = judged(("note",))
    assert checks["fgsm_drop"].passed is None
    assert checks["missing_drop"].passed


def test_longer_texts_are_drift() -> None:
    check = judged(("x", "note"), longer=9)["holdout_vs_training"]
    assert check.passed is False
    assert "'note'" in check.message
