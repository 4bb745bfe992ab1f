"""Fits in DDP workers, whose processes, files and disks go wrong for real."""

import multiprocessing
import os
import resource
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from agentloop.contracts import DiskFull, TrainingDiverged
from agentloop.contracts.spec_families import ParametersSpec, parameters_of
from agentloop.training.fits import FitRequest, Layout, Part, Target
from agentloop.training.ray_trainer import RUN, SNAPSHOT, train_with_ray
from agentloop.training.torch_checkpoint import find_checkpoint

WIDTH = 6


def part(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, WIDTH)).astype(np.float32)
    return Part(x, (x[:, 0] * x[:, 1] > 0).astype(np.int64))


def request(folder, **parameters):
    given = {"epochs": 20, "batch_size": 64, "hidden": [16], **parameters}
    layout = Layout((0.0,) * WIDTH, (1.0,) * WIDTH)
    target = Target("binary", ("no", "yes"))
    return FitRequest(
        "mlp", layout, target, parameters_of("mlp", ParametersSpec(**given)), 3, str(folder)
    )


def train(folder, workers=2, say=None, **parameters):
    asked = request(folder, **parameters)
    return train_with_ray(asked, part(), part(seed=1), workers, folder / "fit", 1, say)


def same(left, right):
    return all((left[name] == right[name]).all() for name in left)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def whole(cluster, kept):
    """A fit that nothing disturbs."""
    return train(kept)


@pytest.fixture
def done(whole, kept, tmp_path):
    """What that fit left on disk, to damage: the folder that holds its checkpoints."""
    shutil.copytree(kept / "fit", tmp_path / "fit")
    return tmp_path / "fit" / RUN


def test_two_workers_learn_what_one_does(cluster, whole, tmp_path):
    one = train(tmp_path, workers=1)
    assert whole.best_loss == pytest.approx(one.best_loss, abs=0.1)
    assert len(whole.history) == len(one.history)


def worker_pids():
    """Processes of Ray that run a training worker, by what they call themselves."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "RayTrainWorker" in name:
            found.append(int(folder.name))
    return found


def test_a_killed_worker_costs_no_more_than_a_checkpoint(cluster, whole, tmp_path):
    killed = []

    def kill_after_a_checkpoint():
        folder = tmp_path / "fit" / RUN
        while not killed and not done.wait(0.02):
            pids = worker_pids()
            if pids and any(folder.glob("checkpoint_*/checkpoint.pt")):
                os.kill(pids[-1], signal.SIGKILL)
                killed.extend(pids)

    done = threading.Event()
    killer = threading.Thread(target=kill_after_a_checkpoint)
    killer.start()
    try:
        fitted = train(tmp_path)
    finally:
        done.set()
        killer.join()
    assert killed
    assert abs(fitted.best_loss - whole.best_loss) < 1e-6
    assert [epoch.val_loss for epoch in fitted.history] == pytest.approx(
        [epoch.val_loss for epoch in whole.history], abs=1e-6
    )


def drive(folder, address):
    import ray

    ray.init(address=address, log_to_driver=False)
    train(folder)


def test_a_killed_driver_goes_on_from_the_last_checkpoint(cluster, whole, tmp_path):
    address = cluster.get_runtime_context().gcs_address
    child = multiprocessing.get_context("spawn").Process(target=drive, args=(tmp_path, address))
    child.start()
    folder = tmp_path / "fit" / RUN
    while child.is_alive() and not any(folder.glob("checkpoint_*/checkpoint.pt")):
        child.join(0.02)
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    kept = find_checkpoint(folder).state
    assert 0 < len(kept["history"]) <= 20
    assert same(train(tmp_path).weights, whole.weights)


@pytest.mark.parametrize("torn", ["", '{"ray_version": "2'])
def test_a_torn_record_of_checkpoints_loses_nothing(cluster, whole, done, tmp_path, torn):
    written = {path: path.stat().st_mtime_ns for path in done.rglob("checkpoint.pt")}
    (done / SNAPSHOT).write_text(torn)
    assert same(train(tmp_path).weights, whole.weights)
    assert {path: path.stat().st_mtime_ns for path in done.rglob("checkpoint.pt")} == written


@pytest.mark.parametrize("left", [1000, 0, None], ids=["half", "empty", "missing"])
def test_a_torn_checkpoint_costs_the_epochs_since_the_one_before(
    cluster, whole, done, tmp_path, left
):
    newest = sorted(done.glob("checkpoint_0*"))[-1] / "checkpoint.pt"
    if left is None:
        newest.unlink()
    else:
        newest.write_bytes(newest.read_bytes()[:left])
    said = []
    assert same(train(tmp_path, say=said.append).weights, whole.weights)
    assert said == [f"{newest.parent.name} cannot be read: training goes on from the one before"]


def test_where_every_checkpoint_is_torn_training_starts_anew(cluster, whole, done, tmp_path):
    for path in done.rglob("checkpoint.pt"):
        path.write_bytes(b"")
    said = []
    assert same(train(tmp_path, say=said.append).weights, whole.weights)
    assert "starts anew" in said[0]


def test_divergence_in_a_worker_is_told_and_not_tried_again(cluster, tmp_path):
    with pytest.raises(TrainingDiverged):
        train(tmp_path, learning_rate=1e30)


def limited(folder):
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        train(folder, workers=0)
    except DiskFull:
        os._exit(7)
    os._exit(0)


def test_a_full_disk_is_told_and_leaves_nothing_half_written(tmp_path):
    child = multiprocessing.get_context("spawn").Process(target=limited, args=(tmp_path,))
    child.start()
    child.join()
    assert child.exitcode == 7
    assert [path for path in (tmp_path / "fit").rglob("*") if path.is_file()] == []
    assert len(train(tmp_path, workers=0).history) > 0
