from __future__ import annotations

import subprocess
import sys


def test_a_replica_imports_no_heavy_library() -> None:
    code = (
        "import sys, agentloop.monitoring as m; m.ObserverFactory();"
        "heavy = {'ray', 'torch', 'mlflow', 'pandas', 'pyarrow', 'prometheus_client', 'psutil'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
