"""Who may import whom, and where the heavy libraries may be named."""

import pytest

# A package imports those to its right. The five in the middle do not know each other.
PIPELINE = {"data", "training", "validation", "serving", "monitoring"}
CORE = {"contracts", "lifecycle"}
MAY_IMPORT = {
    "contracts": set(),
    "lifecycle": {"contracts"},
    **dict.fromkeys(PIPELINE, CORE),
    "loop": CORE | PIPELINE,
    "console": CORE | PIPELINE | {"loop"},
    "cli": CORE | PIPELINE | {"loop", "console"},
}

# A module that imports the library on the left is named for it: its name has one of these words.
ADAPTERS = {
    "ray": {"ray", "serve", "tune", "train"},
    "mlflow": {"mlflow"},
    "torch": {"torch"},
    "pandas": {"pandas", "evidently"},
    "dvc": {"dvc"},
    "optuna": {"optuna", "tune"},
    "evidently": {"evidently"},
    "onnx": {"onnx"},
    "onnxruntime": {"onnx"},
    "sklearn": {"sklearn"},
    "pyarrow": {"arrow", "parquet"},
    "dbos": {"dbos"},
    "boto3": {"s3"},
}


def test_imports_point_right_only(module):
    for found in module.imports():
        parts = found.name.split(".")
        if parts[0] == "agentloop" and len(parts) > 1 and parts[1] != module.package:
            assert parts[1] in MAY_IMPORT[module.package], (
                f"{module.path}:{found.line}: {module.package} must not import {parts[1]}"
            )


def test_heavy_libraries_stay_in_adapters(module):
    words = set(module.path.stem.split("_")) | set(module.path.parent.name.split("_"))
    for found in module.imports():
        adapter = ADAPTERS.get(found.name.split(".")[0])
        assert adapter is None or adapter & words, (
            f"{module.path}:{found.line}: {found.name} belongs in a module named for it,"
            f" with one of {sorted(adapter)} in its name"
        )


@pytest.mark.parametrize("names", [MAY_IMPORT], ids=["layers"])
def test_every_package_has_a_layer(package, names):
    assert package in names
