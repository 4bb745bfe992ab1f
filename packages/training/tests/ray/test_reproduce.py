"""A registered version fitted again by its recipe: the same bits, or the differences by name."""

from dataclasses import replace
from pathlib import Path

import pytest

from agentloop.contracts import ArtifactUnverified
from agentloop.lifecycle import MemoryRegistry, open_bundle
from agentloop.training import ModelTrainingPipeline
from agentloop.training.recipe import read_recipe
from agentloop.training.reproduction import reproduce

SOURCE = """
from torch import nn

def build(inputs, outputs, parameters):
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs))
"""


async def trained(config):
    result = await ModelTrainingPipeline(config, registry=MemoryRegistry()).train_model("exp")
    version = result.model_version
    return version, open_bundle(Path(version.artifact_uri), version.digest).path


@pytest.mark.parametrize("family", ["mlp", "gradient-boosting", "extra-trees", "own_net:build"])
async def test_a_version_is_fitted_again_to_the_same_bits(make_config, tmp_path, family):
    (tmp_path / "own_net.py").write_text(SOURCE)
    config = make_config(family=family)
    version, bundle = await trained(config)
    code = (config.code_version, config.lock_hash)
    recipe = read_recipe(bundle)
    found = await in_thread(version, recipe, config.dataset, bundle, tmp_path / "again", code)
    assert found.identical, found.differences
    assert (found.max_difference, found.differences) == (0.0, ())


async def test_a_version_of_two_workers_is_fitted_again_by_two(cluster, make_config, tmp_path):
    config = make_config(num_workers=2)
    version, bundle = await trained(config)
    recipe = read_recipe(bundle)
    assert recipe.workers == 2
    asked = []
    code = (config.code_version, config.lock_hash)
    found = await in_thread(
        version, recipe, config.dataset, bundle, tmp_path / "again", code, lambda: asked.append(1)
    )
    assert found.identical, found.differences
    assert asked == [1]


async def test_another_recipe_is_no_reproduction_and_says_why(make_config, tmp_path):
    config = make_config()
    version, bundle = await trained(config)
    recipe = read_recipe(bundle)
    member = replace(recipe.members[0], seed=recipe.members[0].seed + 1)
    changed = replace(recipe, members=(member,), lock_hash="other")
    code = (config.code_version, config.lock_hash)
    found = await in_thread(version, changed, config.dataset, bundle, tmp_path / "again", code)
    assert not found.identical
    assert any(line.startswith("weights.safetensors") for line in found.differences)
    assert any(line.startswith("lock hash") for line in found.differences)


def test_a_bundle_without_a_recipe_says_so(tmp_path):
    with pytest.raises(ArtifactUnverified, match=r"recipe\.json"):
        read_recipe(tmp_path)


async def in_thread(*given):
    import asyncio

    given[4].mkdir()
    return await asyncio.to_thread(reproduce, *given)
