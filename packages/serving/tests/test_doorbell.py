"""The keeper is told at once, and misses nothing where it is not."""

from __future__ import annotations

import subprocess
import threading
import time

import pytest

from agentloop.serving.edge.doorbell import BELL_SOCKET, Doorbell, ring
from agentloop.serving.edge.haproxy_process import HaproxyProcess
from agentloop.serving.edge.keeper import keep


@pytest.fixture
def bell(tmp_path):
    bell = Doorbell(tmp_path)
    yield bell
    bell.close()


def test_it_rings_once_however_often_it_was_rung(bell, tmp_path):
    assert not bell.rang()
    for _ in range(3):
        ring(tmp_path)
    assert bell.rang()
    assert not bell.rang()


def test_a_thousand_rings_that_nobody_hears_hold_nobody_up(bell, tmp_path):
    for _ in range(1000):
        ring(tmp_path)
    assert bell.rang()


def test_where_there_is_no_edge_nothing_happens(tmp_path):
    ring(tmp_path)
    ring(tmp_path / "nowhere")
    (tmp_path / BELL_SOCKET).write_text("no socket")
    ring(tmp_path)


def test_a_keeper_takes_the_bell_of_one_that_died(bell, tmp_path):
    after = Doorbell(tmp_path)
    ring(tmp_path)
    assert after.rang()
    assert not bell.rang()
    after.close()


class Keeper:
    def __init__(self, fails=False):
        self.ticks, self.passes, self.passed, self.fails = 0, 0, threading.Event(), fails

    def tick(self):
        self.ticks += 1

    def reconcile(self):
        self.passes += 1
        self.passed.set()
        if self.fails:
            raise RuntimeError("broken")


class Process(HaproxyProcess):
    """``pid`` as it is given."""

    pid = None


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("runs", [False, True])
def test_what_it_rings_for_is_followed_between_ticks(bell, tmp_path, runs, fails):
    keeper, stopping, process = Keeper(fails), threading.Event(), Process(tmp_path)
    child = subprocess.Popen(["sleep", "60"]) if runs else None
    process.pid = child.pid if child else None
    args = (stopping, keeper, process, bell, 20.0)
    thread = threading.Thread(target=keep, args=args, daemon=True)
    thread.start()
    try:
        for number in range(1, 4):
            ring(tmp_path)
            assert keeper.passed.wait(5)
            keeper.passed.clear()
            assert keeper.passes == number
            assert not runs or keeper.ticks == 1
    finally:
        stopping.set()
        ring(tmp_path)
        if child is not None:
            child.kill()  # which ends the wait, as a death of HAProxy does
            child.wait()
        thread.join(5)
    assert not thread.is_alive()


def test_without_a_ring_it_ticks(bell, tmp_path):
    keeper, stopping = Keeper(), threading.Event()
    args = (stopping, keeper, Process(tmp_path), bell, 0.01)
    thread = threading.Thread(target=keep, args=args, daemon=True)
    thread.start()
    time.sleep(0.2)
    stopping.set()
    thread.join(5)
    assert keeper.ticks > 3
    assert keeper.passes == 0
