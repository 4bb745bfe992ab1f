"""Text columns as matrices, by words and by hashed words."""

import time

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from agentloop.contracts import ColumnSchema, DataSchema, TrainingError, from_dict, to_dict
from agentloop.contracts.spec import FeaturesSpec
from agentloop.lifecycle import (
    FeaturePipeline,
    ReferenceProfile,
    build_reference,
    features,
    fit_features,
)

SCHEMA = DataSchema(
    (
        ColumnSchema("x", "number"),
        ColumnSchema("site", "category"),
        ColumnSchema("note", "text"),
        ColumnSchema("code", "text"),
        ColumnSchema("label", "category"),
    ),
    target="label",
)
NOTES = ["The pump is loud", "the pump is hot, pump", "Fan is quiet today", "fan STRASSE straße é"]


def columns(notes=NOTES):
    rows = len(notes)
    return {
        "x": np.arange(rows, dtype=float),
        "site": np.array(["a", "b"] * rows, object)[:rows],
        "note": np.array(notes, object),
        "code": np.array([f"k{n}" for n in range(rows)], object),
        "label": np.array(["yes"] * rows, object),
    }


def fitted(**spec):
    return fit_features(columns(), SCHEMA, FeaturesSpec(**spec))


def block(pipeline, notes):
    return pipeline.transform(columns(notes))[:, 3:]


def test_prose_is_read_and_codes_are_not():
    assert fitted().names == ("x", "site", "note")
    assert fitted(text=("code",), encoding="hash").names == ("x", "site", "code")
    assert fitted(text=()).names == ("x", "site")


def test_texts_come_last_in_the_matrix():
    pipeline = fitted(ngrams=1)
    matrix = pipeline.transform(columns())
    assert matrix.shape == (4, pipeline.width) == (4, 3 + len(pipeline.text[0].terms))
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix[:, 1:3], [[1, 0], [0, 1], [1, 0], [0, 1]])


@pytest.mark.parametrize("ngrams", [1, 2, 3])
def test_tfidf_is_that_of_scikit_learn(ngrams):
    pipeline = fitted(ngrams=ngrams)
    theirs = TfidfVectorizer(min_df=2, ngram_range=(1, ngrams), token_pattern=r"\w+").fit(NOTES)
    assert pipeline.text[0].terms == tuple(theirs.get_feature_names_out())
    unseen = [*NOTES, "pump pump fan is is", "nothing known"]
    wanted = theirs.transform(unseen).toarray()
    np.testing.assert_allclose(block(pipeline, unseen), wanted, atol=1e-6)


def test_the_most_common_terms_are_kept():
    assert fitted(terms=1, ngrams=1).text[0].terms == ("is",)
    assert fitted(terms=2, ngrams=1).text[0].terms == ("fan", "is")


@pytest.mark.parametrize("encoding", ["tfidf", "hash"])
def test_nulls_empty_and_unseen_texts_are_zeros_and_others_of_length_one(encoding):
    rows = block(fitted(encoding=encoding, terms=64), [None, "", "?!…", "the pump"])
    np.testing.assert_array_equal(rows[:3], 0)
    assert np.linalg.norm(rows[3]) == pytest.approx(1)
    if encoding == "tfidf":
        np.testing.assert_array_equal(block(fitted(), ["zebra crossing now"]), 0)


@pytest.mark.parametrize("encoding", ["tfidf", "hash"])
def test_a_row_does_not_depend_on_its_neighbours(encoding):
    pipeline = fitted(encoding=encoding, terms=16)
    together = block(pipeline, NOTES)
    alone = np.concatenate([block(pipeline, [note]) for note in NOTES])
    np.testing.assert_array_equal(together, alone)


def test_hashed_slots_are_the_same_on_every_machine():
    row = block(fitted(encoding="hash", terms=8, ngrams=1), ["pump pump fan"])[0]
    # Stored models depend on these: 1 and -2, of length one.
    assert {k: round(float(v), 4) for k, v in enumerate(row) if v} == {1: 0.4472, 5: -0.8944}


def test_strange_texts_do_not_fail():
    for encoding in ("tfidf", "hash"):
        pipeline = fitted(encoding=encoding, terms=16)
        odd = ["\ud800 is lone", "日本語 の テキスト", "\x00\x00", 7.5, True, "is " * 200_000]
        assert np.isfinite(block(pipeline, odd)).all()


def test_a_very_long_text_costs_no_more_than_its_beginning():
    pipeline = fitted(ngrams=3)
    start = time.perf_counter()
    long = block(pipeline, ["pump " * 2_000_000])
    assert time.perf_counter() - start < 1
    np.testing.assert_array_equal(long, block(pipeline, ["pump " * 2_000]))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nots", "not in the data; text columns: note"),
        ("site", "of kind category"),
        ("label", "is the target"),
    ],
)
def test_a_name_that_is_no_text_column_says_why(name, why):
    with pytest.raises(TrainingError, match=why):
        fitted(text=(name,))


def test_a_named_text_without_repeated_words_is_an_error_and_an_automatic_one_is_left_out():
    with pytest.raises(TrainingError, match="no word of the text column 'code'"):
        fitted(text=("code",))
    once = {**columns(), "note": np.array(["a b c", "d e f", "g h i", "j k l"], object)}
    assert fit_features(once, SCHEMA).text == ()


def test_a_matrix_too_large_to_hold_is_refused(monkeypatch):
    monkeypatch.setattr(features, "MAX_MATRIX_BYTES", 100)
    with pytest.raises(TrainingError, match=r"lower model\.features\.terms"):
        fitted()


def test_pipelines_survive_json_and_those_without_text_still_load():
    for encoding in ("tfidf", "hash"):
        pipeline = fitted(encoding=encoding)
        assert from_dict(FeaturePipeline, to_dict(pipeline)) == pipeline
    old = to_dict(fitted(text=()))
    del old["text"]
    assert from_dict(FeaturePipeline, old) == fitted(text=())


def test_the_reference_bins_texts_by_their_words():
    profile = build_reference(columns(), SCHEMA, columns()["label"], text=["note"])
    assert [c.name for c in profile.columns] == ["x", "site", "note"]
    note = profile.columns[-1]
    assert note.kind == "text"
    counts = note.fold([*NOTES, None])
    assert counts.sum() == 5
    assert counts[-1] == 1
    assert from_dict(ReferenceProfile, to_dict(profile)) == profile


def test_the_reference_leaves_out_texts_that_are_not_read():
    profile = build_reference(columns(), SCHEMA, columns()["label"])
    assert [c.name for c in profile.columns] == ["x", "site"]


def test_ten_thousand_short_texts_take_seconds():
    rng = np.random.default_rng(0)
    words = np.array([f"word{n}" for n in range(5000)], object)
    texts = [" ".join(row) for row in words[rng.zipf(1.3, (10_000, 20)) % 5000]]
    start = time.perf_counter()
    fit_features(columns(texts), SCHEMA).transform(columns(texts))
    assert time.perf_counter() - start < 10
