"""Plots, state files, configuration and the import cost of the package."""

import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from agentloop.training.plots_svg import confusion_plot, learning_curve


@pytest.mark.parametrize("values", [[0.9, 0.5, float("nan"), 0.4], [0.5], []])
def test_a_learning_curve_is_an_svg_whatever_the_losses(values):
    assert ElementTree.fromstring(learning_curve({"a < b": values})).tag.endswith("svg")


def test_a_confusion_plot_shows_every_count():
    plot = confusion_plot(np.array([[50, 2], [3, 45]]), ["<ok>", "bad"])
    ElementTree.fromstring(plot)
    assert all(f">{count}</text>" in plot for count in (50, 2, 3, 45))


def test_keys_that_are_no_file_names_stay_inside_the_state_folder(config):
    inside = replace(config, idempotency_key="../../etc/x").work_dir
    assert inside.parent == config.home / "training"
    assert config.work_dir.name == "key-1"


def test_other_parameters_under_the_same_key_find_no_old_state(config, make_config):
    assert config.attempt_dir != make_config(seed=7).attempt_dir


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, agentloop.training; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"ray", "torch", "mlflow", "optuna", "pyarrow", "pandas", "onnxruntime", "sqlalchemy"}
    assert not heavy & set(loaded.stdout.split())
