import numpy as np
import pytest

from agentloop.contracts import ColumnSchema, DataSchema, TrainingError
from agentloop.training.dataset import RawData, label_texts, prepare


def raw(columns, kinds, target="label", test=None):
    schema = DataSchema(tuple(ColumnSchema(n, kinds.get(n, "number")) for n in columns), target)
    rows = len(next(iter(columns.values())))
    mask = np.arange(rows) % 4 == 0 if test is None else test
    return RawData(columns, schema, mask)


def two_classes(rows=100):
    x = np.arange(rows, dtype=float)
    return {"x": x, "label": np.array([f"c{int(v) % 2}" for v in x], object)}


CATEGORY = {"label": "category"}


def test_the_parts_are_disjoint_and_cover_all_rows():
    data = prepare(raw(two_classes(), CATEGORY), seed=0)
    sizes = [len(part.targets) for part in (data.fit, data.tune, data.test)]
    assert sum(sizes) == 100
    assert sizes[2] == 25
    assert len(data.training["x"]) == sizes[0] + sizes[1]


def test_features_are_fitted_on_the_training_split_alone():
    columns = two_classes()
    columns["x"][::4] = 1e9  # the test rows
    feature = prepare(raw(columns, CATEGORY), seed=0).pipeline.numeric[0]
    assert feature.mean < 100


def test_classes_are_the_sorted_labels():
    data = prepare(raw(two_classes(), CATEGORY), seed=0)
    assert data.target.task == "binary"
    assert data.target.classes == ("c0", "c1")
    assert set(data.fit.targets) == {0, 1}


def test_a_number_as_target_is_regression():
    columns = {"x": np.arange(100.0), "y": np.arange(100.0) * 2}
    data = prepare(raw(columns, {}, "y"), seed=0)
    assert (data.target.task, data.target.outputs) == ("regression", 1)
    assert data.target.mean == pytest.approx(columns["y"][np.arange(100) % 4 != 0].mean())


def test_boolean_labels_read_as_words():
    assert label_texts(np.array([1.0, 0.0, np.nan])) == ["true", "false", None]


@pytest.mark.parametrize(
    ("columns", "kinds", "target", "reason"),
    [
        ({**two_classes(), "label": np.array(["a"] * 100, object)}, CATEGORY, "label", "one class"),
        ({**two_classes(), "label": np.array(["a"] * 99 + [None], object)}, CATEGORY, "label",
         "null in 1 rows"),
        ({"x": np.ones(100), "y": np.append(np.arange(99.0), np.nan)}, {}, "y", "not finite"),
        ({"x": np.ones(100), "y": np.ones(100)}, {}, "y", "same value"),
        ({"x": np.array(["t"] * 100, object), "label": two_classes()["label"]},
         {"x": "text", **CATEGORY}, "label", "no column"),
        (two_classes(3), CATEGORY, "label", "empty"),
    ],
)  # fmt: skip
def test_data_that_cannot_teach_say_why(columns, kinds, target, reason):
    with pytest.raises(TrainingError, match=reason):
        prepare(raw(columns, kinds, target), seed=0)
