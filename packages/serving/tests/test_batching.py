"""Who is predicted with whom, and where."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from agentloop.contracts.spec_serving import BatchSpec
from agentloop.serving.protocol.inference_request import MatrixColumns, join_columns
from agentloop.serving.replica.batching import INLINE_ROWS, Batcher, Gain


class Model:
    """Answers each row with itself; ``gate`` holds predictions back, ``bad`` rows fail."""

    def __init__(self, seconds=0.0, gate=None):
        self.sizes, self.threads, self.gate, self.seconds = [], [], gate, seconds
        self._begun = threading.Event()

    async def begun(self):
        """Until a prediction has begun."""
        assert await asyncio.to_thread(self._begun.wait, 5)

    def predict(self, columns):
        values = columns["x"]
        self._begun.set()
        self.sizes.append(len(values))
        self.threads.append(threading.current_thread() is threading.main_thread())
        if self.gate is not None:
            assert self.gate.wait(5)
        if self.seconds:
            time.sleep(self.seconds)
        if (values < 0).any():
            raise RuntimeError("broken")
        return values.astype(object), values[:, None].astype(np.float32)


def rows(*values):
    return {"x": np.array(values, float)}


async def ask(batcher, *values):
    labels, scores = await batcher.predict(rows(*values), len(values))
    assert labels.tolist() == list(values)
    assert scores.ravel().tolist() == list(values)


def heavy(model, **spec):
    batcher = Batcher(model, BatchSpec(**spec))
    batcher.seconds = 1.0
    return batcher


async def test_a_light_model_answers_in_the_loop_until_it_is_seen_to_be_heavy():
    times = iter([0, 0.01] * 20)
    batcher = Batcher(Model(), clock=lambda: next(times))
    assert batcher.runs_inline(1)
    assert not batcher.runs_inline(INLINE_ROWS + 1)
    for _ in range(3):
        batcher.predict_now(rows(1))
    assert not batcher.runs_inline(1)


async def test_requests_of_one_turn_of_the_loop_are_predicted_together_by_a_light_model():
    model = Model()
    batcher = Batcher(model)

    async def request(value):
        if batcher.runs_inline(1):
            batcher.predict_now(rows(value))
        else:
            await ask(batcher, value)

    for _ in range(10):  # one after another: each is alone
        await request(1)
        await asyncio.sleep(0)
    assert model.sizes == [1] * 10
    for _ in range(5):  # eight at once, as eight connections send them
        await asyncio.gather(*(request(value) for value in range(8)))
    assert model.sizes[-1] == 8
    assert all(model.threads)
    for _ in range(20):
        await request(1)
        await asyncio.sleep(0)
    assert batcher.runs_inline(1)


async def test_one_bad_request_fails_alone_in_the_loop_too():
    batcher = Batcher(Model(), BatchSpec(mode="on"))
    answers = await asyncio.gather(
        *(ask(batcher, value) for value in (1, -1, 2)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [type(None), RuntimeError, type(None)]
    alone = await asyncio.gather(ask(batcher, -1), return_exceptions=True)
    assert type(alone[0]) is RuntimeError


async def test_what_comes_while_a_prediction_runs_is_predicted_together():
    model = Model(gate=threading.Event())
    batcher = heavy(model)
    first = asyncio.create_task(ask(batcher, 1))
    await model.begun()
    rest = [asyncio.create_task(ask(batcher, value, value + 1)) for value in range(5)]
    await asyncio.sleep(0)
    model.gate.set()
    await asyncio.gather(first, *rest)
    assert model.sizes == [1, 10]
    assert model.threads == [False, False]


async def test_the_loop_goes_on_while_a_heavy_model_predicts():
    model = Model(gate=threading.Event())
    task = asyncio.create_task(ask(heavy(model), 1))
    await model.begun()
    assert not task.done()
    model.gate.set()
    await task


async def test_a_batch_holds_so_many_rows_and_a_long_request_goes_alone():
    model = Model()
    batcher = heavy(model, mode="on", max_rows=4)
    await asyncio.gather(*(ask(batcher, *range(size)) for size in (3, 1, 9, 2, 3)))
    assert model.sizes == [4, 9, 2, 3]


class Uneven(Model):
    """Holds back large requests alone."""

    def predict(self, columns):
        if len(columns["x"]) <= INLINE_ROWS:
            return Model().predict(columns)
        return super().predict(columns)


@pytest.mark.parametrize("seconds", [0.0, 1.0])
async def test_a_request_of_many_rows_holds_up_nobody_else(seconds):
    model = Uneven(gate=threading.Event())
    batcher = Batcher(model)
    batcher.seconds = seconds
    large = asyncio.create_task(ask(batcher, *range(INLINE_ROWS + 1)))
    await model.begun()
    await asyncio.gather(*(asyncio.wait_for(ask(batcher, n), 5) for n in range(3)))
    assert not large.done()
    model.gate.set()
    await large
    # What it took says nothing about small ones, which go on in the loop if they did before.
    assert batcher.runs_inline(1) is (seconds == 0)
    batcher.close()


async def test_off_predicts_one_request_at_a_time():
    model = Model()
    batcher = heavy(model, mode="off")
    await asyncio.gather(*(ask(batcher, value) for value in range(4)))
    assert model.sizes == [1] * 4


async def test_one_bad_request_fails_alone():
    batcher = heavy(Model(), mode="on")
    answers = await asyncio.gather(
        *(ask(batcher, value) for value in (1, -1, 2)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [type(None), RuntimeError, type(None)]


class Short:
    """Gives one answer, whatever it is asked."""

    def predict(self, columns):
        return np.array(["a"], object), np.zeros((1, 2), np.float32)


@pytest.mark.parametrize("seconds", [0.0, 1.0])
async def test_too_few_answers_fail_their_requests_and_leave_none_waiting(seconds):
    batcher = Batcher(Short(), BatchSpec(mode="on"))
    batcher.seconds = seconds
    requests = (batcher.predict(rows(1, 2), 2), batcher.predict(rows(3, 4), 2))
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ValueError, ValueError]


async def test_a_client_that_went_away_is_not_predicted_for():
    model = Model(gate=threading.Event())
    batcher = heavy(model)
    first = asyncio.create_task(ask(batcher, 1))
    await model.begun()
    gone = asyncio.create_task(ask(batcher, 2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    model.gate.set()
    await first
    await ask(batcher, 3)
    assert model.sizes == [1, 1]


async def test_on_waits_for_others_but_not_past_a_full_batch():
    model = Model()
    batcher = Batcher(model, BatchSpec(mode="on", max_rows=2, wait_ms=60_000 / 60))
    assert not batcher.runs_inline(1)
    started = time.perf_counter()
    first = asyncio.create_task(ask(batcher, 1))
    await asyncio.sleep(0.01)
    await asyncio.gather(first, ask(batcher, 2))
    assert model.sizes == [2]
    assert time.perf_counter() - started < 0.9


async def test_auto_adds_no_wait_for_one_that_is_alone():
    batcher = heavy(Model(), wait_ms=1000)
    started = time.perf_counter()
    await ask(batcher, 1)
    assert time.perf_counter() - started < 0.5


async def test_the_pool_ends_and_a_closed_batcher_still_answers():
    batcher = heavy(Model())
    await ask(batcher, 1)
    batcher.close()
    await ask(batcher, 2)
    batcher.close()


def test_auto_stops_batching_where_rows_cost_no_less_together():
    gain = Gain()
    assert gain.worth()
    gain.note(False, 1.0)
    gain.note(True, 0.99)
    assert sum(gain.worth() for _ in range(100)) == 2
    for _ in range(50):
        gain.note(True, 0.5)
    assert gain.worth()


def test_columns_are_joined_row_below_row():
    names = ("a", "b")
    parts = [MatrixColumns(names, np.full((n, 2), float(n))) for n in (1, 2)]
    joined = join_columns(parts)
    assert isinstance(joined, MatrixColumns)
    assert joined["b"].tolist() == [1, 2, 2]
    assert dict(joined).keys() == {"a", "b"}
    with pytest.raises(KeyError):
        joined["c"]
    mixed = join_columns([parts[0], dict(parts[1])])
    assert mixed["a"].tolist() == [1, 2, 2]
