"""Where a prediction runs, and with whom: adaptive micro-batching on the replica's event loop.

A request that is alone is answered on the spot, and no wait is ever added for it. Where several
come in one turn of the loop, which is what many connections look like from in here, they are
predicted together at the end of that turn. A model of milliseconds runs in a thread, so that health
checks are answered meanwhile; what comes while it runs is predicted together next. A request of
many rows has a thread of its own, and nobody waits for it but the next of its kind.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agentloop.contracts.spec_serving import BatchSpec
from agentloop.serving.ports import Predictor
from agentloop.serving.protocol.inference_request import Columns, join_columns

# Above either, a prediction would keep the event loop from other requests for milliseconds.
INLINE_ROWS = 256
INLINE_SECONDS = 1e-3
# How fast the averages follow: about the last ten predictions.
_SHARE = 0.1
# From so many requests on that find another one in their turn of the loop, they wait for its end.
_CROWDED = 0.4
# Rows together must be this much cheaper, or requests go alone; every so often it is tried again.
_WORTH = 0.95
_TRY_EVERY = 50

AUTO = BatchSpec()

Answer = tuple[npt.NDArray[Any], npt.NDArray[np.float32]]


class _Waiting(NamedTuple):
    columns: Columns
    rows: int
    answer: asyncio.Future[Answer]


class Batcher:
    """Predicts for the requests of one replica, in its event loop."""

    def __init__(
        self,
        predictor: Predictor,
        spec: BatchSpec = AUTO,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._predict = predictor.predict
        self._spec = spec
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._queued_rows = 0
        self._full = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._large: ThreadPoolExecutor | None = None
        self._gain = Gain()
        self._in_turn = self._flushing = False
        self._crowd = 0.0
        self.seconds = 0.0
        """What a prediction takes, on average of late; large requests do not count."""

    def runs_inline(self, rows: int) -> bool:
        """Whether ``predict_now`` is the way for a request of so many rows. Ask once a request."""
        self._crowd += _SHARE * (self._in_turn - self._crowd)
        if not self._in_turn:
            self._in_turn = True
            asyncio.get_running_loop().call_soon(self._end_turn)
        if rows > INLINE_ROWS or self.seconds >= INLINE_SECONDS:
            return False
        mode = self._spec.mode
        return mode == "off" or (mode == "auto" and self._crowd < _CROWDED)

    def predict_now(self, columns: Columns) -> Answer:
        """Labels and scores, without giving the event loop away."""
        started = self._clock()
        answer = self._predict(columns)
        self.seconds += _SHARE * (self._clock() - started - self.seconds)
        return answer

    async def predict(self, columns: Columns, rows: int) -> Answer:
        """Labels and scores, when it is this request's turn; with others where that is faster."""
        if rows > INLINE_ROWS:
            return await self._predict_large(columns, rows)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._queue.append(_Waiting(columns, rows, answer))
        self._queued_rows += rows
        if self._queued_rows >= self._spec.max_rows:
            self._full.set()
        if self._worker is None and not self._flushing:
            # Both begin when the requests that are ready in this turn of the loop are queued.
            if self._is_light(rows) and not self._spec.wait_ms:
                self._flushing = True
                loop.call_soon(self._flush)
            else:
                self._worker = loop.create_task(self._work())
        return await answer

    def close(self) -> None:
        """Let the thread end when it has done what it was given."""
        for pool in (self._pool, self._large):
            if pool is not None:
                pool.shutdown(wait=False)
        self._pool = self._large = None

    async def _predict_large(self, columns: Columns, rows: int) -> Answer:
        if self._large is None:
            self._large = ThreadPoolExecutor(1, "agentloop-large")
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._large, self._predict, columns)
        _check_rows(answer, rows)
        return answer

    def _end_turn(self) -> None:
        self._in_turn = False

    def _is_light(self, rows: int) -> bool:
        return rows <= INLINE_ROWS and self.seconds < INLINE_SECONDS

    def _flush(self) -> None:
        """Predict what this turn of the loop brought, in the loop."""
        self._flushing = False
        while self._queue:
            if not self._is_light(self._queue[0].rows):
                self._worker = asyncio.get_running_loop().create_task(self._work())
                return
            self._predict_batch(self._take())

    def _predict_batch(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        started = self._clock()
        try:
            answer = self._predict(join_columns([waiting.columns for waiting in batch]))
            self._hand_out(batch, answer, self._clock() - started)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            # One request that the model fails on must not fail those beside it.
            for waiting in batch:
                self._predict_batch([waiting])

    async def _work(self) -> None:
        try:
            while self._queue:
                await self._wait_for_more()
                batch = self._take()
                if batch:
                    await self._run(batch)
        finally:
            self._worker = None

    async def _wait_for_more(self) -> None:
        if not self._spec.wait_ms or self._queued_rows >= self._spec.max_rows:
            return
        if self._spec.mode == "auto" and len(self._queue) == 1:
            return  # alone: others can join while the next one runs
        self._full.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._full.wait(), self._spec.wait_ms / 1000)

    def _take(self) -> list[_Waiting]:
        """The requests to predict next, oldest first: at most ``max_rows`` rows, or one request."""
        together = self._spec.mode == "on" or (self._spec.mode == "auto" and self._gain.worth())
        batch: list[_Waiting] = []
        rows = 0
        while self._queue and (not batch or together):
            if batch and rows + self._queue[0].rows > self._spec.max_rows:
                break
            waiting = self._queue.popleft()
            self._queued_rows -= waiting.rows
            if not waiting.answer.done():  # its client may have gone away
                batch.append(waiting)
                rows += waiting.rows
        return batch

    async def _run(self, batch: list[_Waiting]) -> None:
        """As ``_predict_batch``, in the thread if the model is heavy."""
        started = self._clock()
        try:
            answer = await self._compute(batch)
            self._hand_out(batch, answer, self._clock() - started)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            for waiting in batch:
                await self._run([waiting])

    def _hand_out(self, batch: list[_Waiting], answer: Answer, seconds: float) -> None:
        labels, scores = answer
        rows = sum(waiting.rows for waiting in batch)
        _check_rows(answer, rows)
        self.seconds += _SHARE * (seconds / len(batch) - self.seconds)
        self._gain.note(len(batch) > 1, seconds / rows)
        start = 0
        for waiting in batch:
            end = start + waiting.rows
            _settle(waiting, (labels[start:end], scores[start:end]))
            start = end

    async def _compute(self, batch: list[_Waiting]) -> Answer:
        parts = [waiting.columns for waiting in batch]
        if self._is_light(sum(waiting.rows for waiting in batch)):
            return self._predict(join_columns(parts))
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "agentloop-predict")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: self._predict(join_columns(parts)))


class Gain:
    """Whether rows cost less together, by what they took alone and together of late."""

    def __init__(self) -> None:
        self._alone: float | None = None
        self._together: float | None = None
        self._since_tried = 0

    def note(self, together: bool, seconds_a_row: float) -> None:
        if together:
            self._together = _follow(self._together, seconds_a_row)
        else:
            self._alone = _follow(self._alone, seconds_a_row)

    def worth(self) -> bool:
        """Unknown is worth a try, and a verdict is looked at again now and then."""
        if self._alone is None or self._together is None:
            return True
        if self._together < _WORTH * self._alone:
            return True
        self._since_tried = (self._since_tried + 1) % _TRY_EVERY
        return self._since_tried == 0


def _follow(average: float | None, value: float) -> float:
    return value if average is None else average + _SHARE * (value - average)


def _check_rows(answer: Answer, rows: int) -> None:
    labels, scores = answer
    if len(labels) != rows or len(scores) != rows:
        raise ValueError(f"the model gave {len(labels)} answers for {rows} rows")


def _settle(waiting: _Waiting, answer: Answer) -> None:
    if not waiting.answer.done():
        waiting.answer.set_result(answer)


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
