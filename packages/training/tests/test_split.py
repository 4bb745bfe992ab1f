"""The test split is the one that loop.yaml asks for."""

from dataclasses import replace

import numpy as np
import pytest

from agentloop.contracts import SchemaMismatch, SplitSpec
from agentloop.training import ModelTrainingPipeline


async def test_rows_of_a_group_are_on_one_side(config):
    split = SplitSpec(by="group", column="colour", test=0.5, salt="s")
    raw = await ModelTrainingPipeline(replace(config, split=split)).load_training_data()
    colours = raw.columns["colour"]
    assert raw.test.any()
    assert not set(colours[raw.test]) & set(colours[~raw.test])


async def test_the_split_column_stays_a_feature(config):
    split = SplitSpec(by="time", column="x", at="1.5")
    pipeline = ModelTrainingPipeline(replace(config, split=split))
    raw = await pipeline.load_training_data()
    np.testing.assert_array_equal(raw.test, raw.columns["x"] >= 1.5)
    assert "x" in raw.columns


async def test_a_split_by_an_absent_column_names_the_nearest(config):
    split = SplitSpec(by="group", column="color")
    with pytest.raises(SchemaMismatch, match="did you mean 'colour'"):
        await ModelTrainingPipeline(replace(config, split=split)).load_training_data()
