"""Which processes a fit in DDP workers starts, and that none of them outlives it."""

import multiprocessing
import os
import re
import signal
import threading
import time
from contextlib import contextmanager, suppress

import numpy as np
import psutil
import pytest

from agentloop.contracts import TrainingError
from agentloop.contracts.spec_families import ParametersSpec, parameters_of
from agentloop.training.fits import FitRequest, Layout, Part, Target
from agentloop.training.ray_trainer import RUN, train_with_ray

WIDTH, CPUS = 6, 2
WORKER, CONTROLLER = "RayTrainWorker", "LeanController"
RAYS_OWN = {"IDLE", "DashboardAgent", "RuntimeEnvAgent"}
LEAVE_SECONDS = 10


def part(seed):
    x = np.random.default_rng(seed).normal(size=(400, WIDTH)).astype(np.float32)
    return Part(x, (x[:, 0] * x[:, 1] > 0).astype(np.int64))


def train(folder, epochs=10):
    given = ParametersSpec(epochs=epochs, batch_size=64, hidden=[16])
    layout, target = Layout((0.0,) * WIDTH, (1.0,) * WIDTH), Target("binary", ("no", "yes"))
    request = FitRequest("mlp", layout, target, parameters_of("mlp", given), 3, str(folder))
    return train_with_ray(request, part(0), part(1), 2, folder / "fit")


def same(left, right):
    return all((left.weights[name] == right.weights[name]).all() for name in left.weights)


def actors():
    """The actors of our own Ray, process by process, as they call themselves."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            title = " ".join(process.cmdline())
            if named := re.match(r"ray::(\w*[A-Z]\w*)", title):
                found[process.pid] = named[1]
    return {pid: name for pid, name in found.items() if name not in RAYS_OWN}


def pids(name):
    return [pid for pid, named in actors().items() if named == name]


def checkpointed(folder):
    return any((folder / "fit" / RUN).glob("checkpoint_*/checkpoint.pt"))


@contextmanager
def watching(look):
    """``look`` is called over and over until it returns something true, or the block ends."""

    def watch():
        while not done.wait(0.02) and not look():
            pass

    done = threading.Event()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def killing(name, when=lambda: True):
    """One process of that name, once there is one and ``when`` holds."""
    killed = []

    def look():
        if when() and (found := pids(name)):
            os.kill(found[-1], signal.SIGKILL)
            killed.append(found[-1])
        return killed

    return killed, watching(look)


def fits_own():
    """Ray names with an underscore what it keeps for the whole cluster."""
    return [name for name in actors().values() if not name.startswith("_")]


def assert_all_gone(cluster):
    deadline = time.monotonic() + LEAVE_SECONDS
    while fits_own() or cluster.available_resources().get("CPU") != CPUS:
        assert time.monotonic() < deadline, (fits_own(), cluster.available_resources())
        time.sleep(0.05)


@pytest.fixture(scope="module")
def whole(cluster, tmp_path_factory):
    """A fit that nothing disturbs, and the actors that it had."""
    seen, before = {}, actors()
    with watching(lambda: seen.update(actors())):
        fitted = train(tmp_path_factory.mktemp("whole"))
    return fitted, sorted(name for pid, name in seen.items() if pid not in before)


def test_a_fit_starts_a_controller_and_its_workers_alone(cluster, whole):
    assert whole[1] == [CONTROLLER, WORKER, WORKER]
    assert_all_gone(cluster)


def test_a_worker_that_dies_while_it_starts_is_replaced(cluster, whole, tmp_path):
    killed, killer = killing(WORKER)
    with killer:
        fitted = train(tmp_path)
    assert killed
    assert same(fitted, whole[0])
    assert_all_gone(cluster)


def test_a_controller_that_dies_is_told_and_the_fit_goes_on_later(cluster, whole, tmp_path):
    killed, killer = killing(CONTROLLER, lambda: checkpointed(tmp_path))
    with killer, pytest.raises(TrainingError, match="ActorDied"):
        train(tmp_path)
    assert killed
    assert_all_gone(cluster)
    assert same(train(tmp_path), whole[0])


def test_workers_that_find_no_room_in_time_are_started_when_there_is(
    cluster, whole, tmp_path, monkeypatch
):
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "1")
    holder = cluster.remote(num_cpus=CPUS)(Holder).remote()
    cluster.get(holder.held.remote())
    release = threading.Timer(8, cluster.kill, [holder])
    release.start()
    fitted = train(tmp_path)
    assert not release.is_alive()
    assert same(fitted, whole[0])
    assert_all_gone(cluster)


class Holder:
    """Takes the processors that the workers want."""

    def held(self):
        return True


def drive(folder, address):
    import ray

    ray.init(address=address, log_to_driver=False)
    train(folder, epochs=500)
    (folder / "finished").touch()


@pytest.mark.parametrize("moment", ["starting", "training"])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_ended_leaves_no_process(cluster, tmp_path, moment, sent):
    address = cluster.get_runtime_context().gcs_address
    child = multiprocessing.get_context("spawn").Process(target=drive, args=(tmp_path, address))
    child.start()

    def reached():
        return bool(pids(WORKER)) if moment == "starting" else checkpointed(tmp_path)

    while child.is_alive() and not reached():
        child.join(0.02)
    os.kill(child.pid, sent)
    child.join(30)
    assert not child.is_alive()
    assert_all_gone(cluster)
    assert not (tmp_path / "finished").exists()
