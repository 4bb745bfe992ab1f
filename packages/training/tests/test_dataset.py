import numpy as np
import pytest

from agentloop.contracts import ColumnSchema, DataSchema, SplitSpec, TrainingError
from agentloop.contracts.spec import FeaturesSpec
from agentloop.training import dataset
from agentloop.training.dataset import RawData, label_texts


def raw(columns, kinds, target="label", test=None):
    schema = DataSchema(tuple(ColumnSchema(n, kinds.get(n, "number")) for n in columns), target)
    rows = len(next(iter(columns.values())))
    mask = np.arange(rows) % 4 == 0 if test is None else test
    return RawData(columns, schema, mask)


def prepare(data, seed=0, folds=1, split=None, features=None):
    return dataset.prepare(data, split or SplitSpec(), features or FeaturesSpec(), seed, folds)


def two_classes(rows=100):
    x = np.arange(rows, dtype=float)
    return {"x": x, "label": np.array([f"c{int(v) % 2}" for v in x], object)}


CATEGORY = {"label": "category"}


def test_the_parts_are_disjoint_and_cover_all_rows():
    data = prepare(raw(two_classes(), CATEGORY))
    sizes = [len(part.targets) for part in (data.fit, data.tune, data.test)]
    assert sum(sizes) == 100
    assert sizes[2] == 25
    assert len(data.training["x"]) == sizes[0] + sizes[1]


def test_features_are_fitted_on_the_training_split_alone():
    columns = two_classes()
    columns["x"][::4] = 1e9  # the test rows
    feature = prepare(raw(columns, CATEGORY)).pipeline.numeric[0]
    assert feature.mean < 100


def test_test_rows_move_neither_features_nor_the_scale_of_the_target():
    rows = 120
    rng = np.random.default_rng(0)
    columns = {
        "x": rng.normal(size=rows),
        "site": np.array(["a", "b", "c"] * 40, object),
        "note": np.array(["the pump is loud", "the fan is quiet"] * 60, object),
        "y": rng.normal(size=rows),
    }
    other = {name: values.copy() for name, values in columns.items()}
    test = np.arange(rows) % 4 == 0
    other["x"][test], other["y"][test] = -1e6, 1e6
    other["site"][test], other["note"][test] = "elsewhere", "nothing like it was seen before"
    kinds = {"site": "category", "note": "text"}
    one, two = prepare(raw(columns, kinds, "y")), prepare(raw(other, kinds, "y"))
    assert one.pipeline == two.pipeline
    assert one.pipeline.text
    assert one.target == two.target
    np.testing.assert_array_equal(one.train.features, two.train.features)


def test_several_folds_each_validate_other_rows():
    data = prepare(raw(two_classes(), CATEGORY), folds=3)
    assert sorted(np.concatenate([fold.tune for fold in data.folds])) == list(range(75))


def test_texts_come_last_in_the_layout():
    columns = {**two_classes(), "note": np.array(["the pump is loud"] * 100, object)}
    data = prepare(raw(columns, {"note": "text", **CATEGORY}))
    assert data.layout.text == data.pipeline.text[0].width == 7
    assert data.layout.width == data.train.features.shape[1]


def test_classes_are_the_sorted_labels():
    data = prepare(raw(two_classes(), CATEGORY))
    assert data.target.task == "binary"
    assert data.target.classes == ("c0", "c1")
    assert set(data.fit.targets) == {0, 1}


def test_a_number_as_target_is_regression():
    columns = {"x": np.arange(100.0), "y": np.arange(100.0) * 2}
    data = prepare(raw(columns, {}, "y"))
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
        (two_classes(1), CATEGORY, "label", "training split of 1 rows is empty"),
        ({"x": np.ones(1), "y": np.ones(1)}, {}, "y", "training split of 1 rows is empty"),
        ({**two_classes(), "label": np.array(["new", *"abc" * 33], object)}, CATEGORY, "label",
         "no training row has: 'new'"),
        ({**two_classes(), "label": np.array([f"id{n}" for n in range(100)], object)}, CATEGORY,
         "label", "100 different labels in 100 rows"),
        ({**two_classes(), "label": np.array([f"a text {n}" for n in range(100)], object)},
         {"label": "text"}, "label", "different labels"),
        ({**two_classes(), "label": np.full(100, np.nan)}, {"label": "boolean"}, "label",
         "null in 100 rows"),
        ({"x": np.ones(100), "y": np.append(np.arange(99.0), np.inf)}, {}, "y", "in 1 rows"),
        ({"x": np.ones(100), "y": np.arange(100.0) * 1e306}, {}, "y", "too large"),
        ({"x": np.ones(100), "y": np.arange(100.0)}, {"y": "datetime"}, "y", "is a datetime"),
    ],
)  # fmt: skip
def test_data_that_cannot_teach_say_why(columns, kinds, target, reason):
    with pytest.raises(TrainingError, match=reason):
        prepare(raw(columns, kinds, target))
