"""Fits in DDP workers, whose processes, files and disks go wrong for real."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
from contextlib import suppress

import numpy as np
import psutil
import pytest

from agentloop.contracts import DiskFull, TrainingDiverged
from agentloop.contracts.spec_families import ParametersSpec, parameters_of
from agentloop.training.fits import FitRequest, Layout, Part, Target
from agentloop.training.live_journal import EPOCHS
from agentloop.training.ray_trainer import RUN, SNAPSHOT, train_with_ray
from agentloop.training.ray_workers import CHECKPOINTS_PER_FIT
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
    """Processes of our own Ray that run a training worker, by what they call themselves."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process.pid)
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
    told = (tmp_path / "fit" / RUN / EPOCHS).read_text().splitlines()
    assert 20 <= len(told) <= 20 + 20 // CHECKPOINTS_PER_FIT


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


@pytest.mark.parametrize("torn", ["", '{"ray_version": "2'], ids=["empty", "half"])
def test_torn_files_cost_the_epochs_since_the_checkpoint_before(
    cluster, whole, done, tmp_path, torn
):
    newest = sorted(done.glob("checkpoint_0*"))[-1] / "checkpoint.pt"
    whole_file = newest.read_bytes()
    newest.write_bytes(whole_file[: len(whole_file) // 2 if torn else 0])
    (done / SNAPSHOT).write_text(torn)
    said = []
    assert same(train(tmp_path, say=said.append).weights, whole.weights)
    assert said == [f"{newest.parent.name} cannot be read: training goes on from the one before"]


def test_divergence_in_a_worker_is_told_and_not_tried_again(cluster, tmp_path):
    with pytest.raises(TrainingDiverged):
        train(tmp_path, learning_rate=1e30)


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of half a megabyte, filled in part; ``grow`` gives it more."""
    place = tmp_path / "fit"
    place.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_fills_up_under_workers_is_told_and_the_run_goes_on_later(
    cluster, tiny_disk, tmp_path
):
    with pytest.raises(DiskFull):
        train(tmp_path, hidden=[256, 256], epochs=5)
    half_written = list((tmp_path / "fit").rglob(".checkpoint*"))
    assert half_written == []
    tiny_disk()
    assert len(train(tmp_path, hidden=[256, 256], epochs=5).history) == 5


def test_streamed_rows_are_the_rows_in_their_order(cluster, monkeypatch):
    from agentloop.training import ray_shards

    monkeypatch.setattr(ray_shards, "BLOCK_BYTES", 1000)
    whole = part(997)
    streamed = ray_shards.collected(ray_shards.as_dataset(whole))
    assert np.array_equal(streamed.features, whole.features)
    assert np.array_equal(streamed.targets, whole.targets)


def test_a_worker_keeps_its_own_rows_of_a_stream(cluster, monkeypatch):
    from agentloop.training import ray_shards

    monkeypatch.setattr(ray_shards, "BLOCK_BYTES", 1000)
    whole = part(997)
    own = ray_shards.collected(ray_shards.as_dataset(whole), 1, 3)
    assert np.array_equal(own.features, whole.features[1::3])
    assert np.array_equal(own.targets, whole.targets[1::3])


def test_workers_that_are_streamed_to_learn_the_same(cluster, whole, tmp_path, monkeypatch):
    from agentloop.training import ray_shards

    def streamed(train, tune, nodes):
        return offered(train, tune, 2)

    offered = ray_shards.offered
    monkeypatch.setattr(ray_shards, "STREAMED_BYTES", 0)
    monkeypatch.setattr(ray_shards, "offered", streamed)
    assert same(train(tmp_path).weights, whole.weights)
