"""Who may import whom, and where the heavy libraries may be named."""

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

# Imported only by adapters, each of which is named for what it adapts: ray_trainer.py, s3.py.
LIBRARIES = {
    "boto3", "dbos", "duckdb", "dvc", "evidently", "mlflow", "onnx", "onnxruntime", "openlineage",
    "optuna", "pandas", "psycopg", "pyarrow", "ray", "sklearn", "sqlglot", "torch",
}  # fmt: skip
ADAPTER_WORDS = {
    "arrow", "dbos", "duckdb", "dvc", "evidently", "mlflow", "onnx", "openlineage", "optuna",
    "pandas", "parquet", "postgres", "ray", "s3", "serve", "sklearn", "sql", "torch", "tune",
}  # fmt: skip


def test_imports_point_right_only(module):
    for found in module.imports():
        parts = found.name.split(".")
        if parts[0] == "agentloop" and len(parts) > 1 and parts[1] != module.package:
            assert parts[1] in MAY_IMPORT[module.package], (
                f"{module.path}:{found.line}: {module.package} must not import {parts[1]}"
            )


def test_heavy_libraries_stay_in_adapters(module):
    is_adapter = ADAPTER_WORDS & set(module.path.stem.split("_"))
    for found in module.imports():
        assert is_adapter or found.name.split(".")[0] not in LIBRARIES, (
            f"{module.path}:{found.line}: {found.name} belongs in a module named for what it adapts"
        )


def test_every_package_has_a_layer(package):
    assert package in MAY_IMPORT
