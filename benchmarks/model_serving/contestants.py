"""Who takes part: how each is prepared, launched and asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
OURS, OURS_SPLIT = "agentloop, one version", "agentloop, two versions 90/10"
BARE = "bare Starlette + uvicorn"
SERVE_DEFAULT, SERVE_FAST = "Ray Serve, defaults", "Ray Serve, HAProxy + throughput"
BOTH = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contestant runs: its interpreter, a folder of its own and a free port."""

    python: str
    folder: Path
    port: int

    @property
    def program(self) -> str:
        """The folder of the environment's programs."""
        return str(Path(self.python).parent)


Row = list[float]
Command = Callable[[Place], list[str]]


@dataclass(frozen=True, slots=True)
class Contestant:
    """``read`` takes the two probabilities out of a parsed answer. ``prepare`` is run once a start,
    before the clock. ``quick``: takes part in a quick run too; ``minor``: in the first round only,
    a variant that shows what one choice of the same server costs."""

    name: str
    environment: str
    command: Command
    path: str
    body: Callable[[Row], Any]
    read: Callable[[Any], Any]
    variables: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Place], list[str] | None] = lambda _: None
    quick: bool = False
    minor: bool = False


def instances(row: Row) -> Any:
    return {"instances": [row]}


def predictions(answer: Any) -> Any:
    return answer["predictions"][0]


def tensor(row: Row) -> Any:
    shape = [1, len(row)]
    return {"inputs": [{"name": "features", "shape": shape, "datatype": "FP64", "data": row}]}


def our_probabilities(answer: Any) -> Any:
    return next(o["data"] for o in answer["outputs"] if o["name"] == "probabilities")


def script(name: str, *arguments: str) -> Command:
    return lambda p: [p.python, str(HERE / name), str(p.port), *arguments]


def ours(name: str, *options: str) -> Contestant:
    def command(p: Place) -> list[str]:
        port = json.dumps({"port": p.port})
        place = str(p.folder / "plane")
        return [p.python, str(HERE / "plane.py"), place, "--serving", port, *options]

    def prepare(p: Place) -> None:
        (p.folder / "plane").mkdir()

    path = "/v2/models/mlp/infer"
    return Contestant(
        name, "", command, path, tensor, our_probabilities, prepare=prepare, quick=True
    )


def ray(name: str, mode: str, variables: Mapping[str, str], main: bool = False) -> Contestant:
    """Plain Ray Serve, in the product's own environment: it is the same Ray."""

    def command(p: Place) -> list[str]:
        return [p.python, str(HERE / "peer_ray.py"), str(p.port), str(p.folder / "r"), mode]

    return Contestant(
        name,
        "",
        command,
        "/predict",
        instances,
        predictions,
        variables,
        quick=main,
        minor=not main,
    )


def bentoml(name: str, environment: str, minor: bool = False) -> Contestant:
    def command(p: Place) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(p.port), "--working-dir", str(HERE)]
        return [f"{p.program}/bentoml", "serve", "peer_bentoml:MLP", *where]

    return Contestant(
        name,
        environment,
        command,
        "/predict",
        lambda row: {"rows": [row]},
        lambda answer: answer[0],
        minor=minor,
    )


def litserve(name: str, mode: str, quick: bool = False) -> Contestant:
    command = script("peer_litserve.py", mode)
    return Contestant(
        name, "serving_litserve", command, "/predict", instances, predictions, quick=quick
    )


def mlflow(name: str, kind: str, body: Callable[[Row], Any], quick: bool = False) -> Contestant:
    def command(p: Place) -> list[str]:
        where = ["-h", "127.0.0.1", "-p", str(p.port), "--env-manager", "local"]
        model = str(p.folder / "model")
        return [p.python, "-m", "mlflow", "models", "serve", "-m", model, *where]

    def prepare(p: Place) -> list[str]:
        return [p.python, str(HERE / "peer_mlflow.py"), str(p.folder / "model"), kind]

    def read(answer: Any) -> Any:
        found = answer["predictions"]
        if isinstance(found, dict):
            return found["scores"][0]
        # For a table the two outputs of one row come as two rows.
        return [value["scores"] for value in found]

    return Contestant(
        name, "serving_mlflow", command, "/invocations", body, read, prepare=prepare, quick=quick
    )


def mlserver(name: str, parallel: str, quick: bool = False) -> Contestant:
    def prepare(p: Place) -> None:
        ports = {"http_port": p.port, "grpc_port": p.port + 1, "metrics_port": p.port + 2}
        settings = {"host": "127.0.0.1", "debug": False, "use_structured_logging": False, **ports}
        (p.folder / "settings.json").write_text(json.dumps(settings))
        model = {"name": "mlp", "implementation": "peer_mlserver.MLP"}
        (p.folder / "model-settings.json").write_text(json.dumps(model))

    def command(p: Place) -> list[str]:
        return [f"{p.program}/mlserver", "start", str(p.folder)]

    return Contestant(
        name,
        "serving_mlserver",
        command,
        "/v2/models/mlp/infer",
        tensor,
        lambda answer: answer["outputs"][0]["data"],
        {"MLSERVER_PARALLEL_WORKERS": parallel, "PYTHONPATH": str(HERE)},
        prepare,
        quick,
        not quick,
    )


def table(row: Row) -> Any:
    columns = [f"x{number}" for number in range(len(row))]
    return {"dataframe_split": {"columns": columns, "data": [row]}}


def bare(p: Place) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(p.port), "--app-dir", str(HERE)]
    how = ["--workers", "1", "--no-access-log", "--loop", "uvloop", "--http", "httptools"]
    return [p.python, "-m", "uvicorn", "peer_bare:app", *where, *how, "--log-level", "warning"]


CONTESTANTS = (
    ours(OURS),
    ours(OURS_SPLIT, "--versions", "2", "--serve", "2", "--shares", "90,10"),
    Contestant(BARE, "serving_bare", bare, "/predict", instances, predictions, quick=True),
    ray(SERVE_FAST, "tuned", BOTH, main=True),
    ray(SERVE_DEFAULT, "default", {}, main=True),
    ray("Ray Serve, 200 a replica, no access log", "tuned", {}),
    ray("Ray Serve, HAProxy only", "tuned", {"RAY_SERVE_ENABLE_HA_PROXY": "1"}),
    ray("Ray Serve, throughput only", "tuned", {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}),
    ray("Ray Serve, splitter in Python", "splitter", BOTH),
    Contestant(
        "KServe",
        "serving_kserve",
        script("peer_kserve.py"),
        "/v1/models/mlp:predict",
        instances,
        predictions,
        quick=True,
    ),
    mlserver("MLServer, in process", "0", quick=True),
    mlserver("MLServer", "1"),
    litserve("LitServe", "default"),
    litserve("LitServe, fast queue", "fast"),
    bentoml("BentoML", "serving_bentoml"),
    bentoml("BentoML, uvloop + httptools", "serving_bentoml_fast", minor=True),
    mlflow("MLflow, table", "table", table),
    mlflow("MLflow, tensor", "tensor", lambda row: {"inputs": [row]}),
)


def is_right(contestant: Contestant, content: bytes, expected: Any) -> bool:
    """Whether an answer holds the model's own probabilities."""
    try:
        found = np.asarray(contestant.read(json.loads(content)), dtype=float)
    except (ValueError, KeyError, TypeError, IndexError, StopIteration):
        return False
    return found.shape == expected.shape and bool(np.allclose(found, expected, atol=1e-4))
