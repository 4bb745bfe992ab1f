"""What importing serving costs, and that its errors travel."""

from __future__ import annotations

import pickle
import subprocess
import sys

from agentloop.contracts import ModelUnreachable

HEAVY = ("ray", "torch", "mlflow", "pandas", "evidently", "onnxruntime", "pyarrow", "httpx", "onnx")


def loaded(statement):
    code = f"import sys; {statement}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_package_loads_nothing_heavy():
    assert loaded("import agentloop.serving") == "[]"


def test_a_replica_loads_no_training_libraries():
    found = loaded("import agentloop.serving.replica.serve_replica")
    # ray.serve itself brings pandas and pyarrow.
    assert not any(name in found for name in ("'torch'", "'mlflow'", "'evidently'", "'httpx'"))


def test_every_public_name_is_there():
    import agentloop.serving

    assert all(getattr(agentloop.serving, name) for name in agentloop.serving.__all__)


def test_an_unreachable_model_survives_pickling():
    error = pickle.loads(pickle.dumps(ModelUnreachable("nobody home")))
    assert "nobody home" in str(error)
