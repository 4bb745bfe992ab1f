"""Large JSON bodies, read in a process of their own: small requests never wait for one.

To parse JSON takes some 10 ms a MB, in one step in which no other thread of Python runs: in the
replica itself every small request would wait for it. The process is started for the first such
body, reads one at a time, and is replaced when it dies or takes too long. Those that wait are
bounded by what all bodies together may take (``request_body``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from agentloop.contracts.errors import RequestRejected
from agentloop.lifecycle.bundle import Signature
from agentloop.serving.protocol.decoding import RequestDecoder
from agentloop.serving.protocol.inference_request import InferenceRequest
from agentloop.serving.protocol.request_wire import unpack_request
from agentloop.serving.replica import body_process

START_SECONDS = 30.0
# A body may take so long, and so much more a MB: a hundred times what one does.
READ_SECONDS, READ_SECONDS_A_MB = 10.0, 1.0
# A process that could not be started is tried again after so long.
RETRY_SECONDS = 30.0
TRIES = 2

log = logging.getLogger(__name__)


class ReaderLost(Exception):
    """The process ended, or was ended because it took too long."""


class BodyProcess:
    """One process of ``body_process``. Not thread-safe, but for ``kill``.

    Raises OSError, or ReaderLost where it does not get ready.
    """

    def __init__(self, signature: Signature) -> None:
        self._file = os.memfd_create("agentloop-body")
        path = os.pathsep.join(part for part in sys.path if part)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", body_process.__name__, str(self._file)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[self._file],
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            )
        except OSError:
            os.close(self._file)
            raise
        try:
            self._ask(signature, START_SECONDS)
        except OSError:
            self.close()
            raise ReaderLost from None

    @property
    def pid(self) -> int:
        return self._process.pid

    def read(
        self, endpoint: str, body: bytes, json_length: bytes | None, seconds: float
    ) -> InferenceRequest:
        """Raises RequestRejected as RequestDecoder does, ReaderLost, RuntimeError."""
        try:
            # One call into the kernel each way, during which other threads run.
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, body, 0)
            told = self._ask((endpoint, len(body), json_length), seconds)
            if told[0] == body_process.REFUSED:
                raise RequestRejected(*told[1:])
            if told[0] != body_process.READ:
                raise RuntimeError(f"a body could not be read:\n{told[1]}")
            values = np.empty(told[2], np.uint8).data
            os.preadv(self._file, [values], 0)
            os.ftruncate(self._file, 0)
        except OSError:
            self.close()
            raise ReaderLost from None
        return unpack_request(told[1], values)

    def kill(self) -> None:
        """End it; from any thread. What is asked of it fails with ReaderLost."""
        self._process.kill()

    def close(self) -> None:
        """End it and give back what it held. May be repeated."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        with contextlib.suppress(OSError):
            os.close(self._file)
        self._file = -1

    def _ask(self, order: Any, seconds: float) -> tuple[Any, ...]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(body_process.frame(order))
        answers = self._process.stdout.fileno()
        deadline = time.monotonic() + seconds

        def read(size: int) -> bytes:
            left = max(deadline - time.monotonic(), 0)
            poll = select.poll()
            poll.register(answers, select.POLLIN)
            return os.read(answers, size) if poll.poll(left * 1000) else b""

        told: tuple[Any, ...] | None = body_process.receive(read)
        if told is None:
            raise OSError("no answer")
        return told


class LargeBodies:
    """Reads the large bodies of one replica, one at a time, in the order in which they came."""

    def __init__(
        self,
        signature: Signature,
        decoder: RequestDecoder,
        start: Callable[[Signature], BodyProcess] = BodyProcess,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._signature = signature
        self._decoder = decoder
        self._start = start
        self._clock = clock
        self._process: BodyProcess | None = None
        self._not_before = 0.0
        self._closed = False
        self._thread = ThreadPoolExecutor(1, "agentloop-large")

    async def decode(
        self, endpoint: str, body: bytes, json_length: bytes | None
    ) -> InferenceRequest:
        """As ``RequestDecoder.decode``. Raises RequestRejected; 503 where no process could read
        the body. Where none can be started it is read here."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._decode, endpoint, body, json_length)

    def close(self) -> None:
        """End the process; what it is at answers 503. May be repeated."""
        if self._closed:
            return
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
        self._thread.submit(self._drop)
        self._thread.shutdown(wait=False)

    def _decode(self, endpoint: str, body: bytes, json_length: bytes | None) -> InferenceRequest:
        seconds = READ_SECONDS + READ_SECONDS_A_MB * len(body) / 1e6
        for _ in range(TRIES):
            process = self._running()
            if self._closed:
                break
            if process is None:
                return self._decoder.decode(endpoint, body, json_length)
            began = self._clock()
            try:
                return process.read(endpoint, body, json_length, seconds)
            except ReaderLost:
                self._process = None
                log.warning("the reader of large bodies was lost at one of %d bytes", len(body))
                if self._clock() - began >= seconds:
                    break  # a second one would take as long
        raise RequestRejected(503, "the body could not be read; send fewer rows at once")

    def _running(self) -> BodyProcess | None:
        """The process; None where it cannot be started."""
        if self._process is None and self._clock() >= self._not_before:
            try:
                self._process = self._start(self._signature)
            except (OSError, ReaderLost) as error:
                self._not_before = self._clock() + RETRY_SECONDS
                log.warning("large bodies are read in the replica itself: %r", error)
        return self._process

    def _drop(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None
