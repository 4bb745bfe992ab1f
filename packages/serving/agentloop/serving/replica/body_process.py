"""Read large JSON bodies for a replica, in a process of its own: ``python -m`` this module.

``large_bodies`` starts it and speaks with it: frames of four bytes of length and a pickle each, on
its standard input and output; bodies, and what they held, lie in a file in memory whose descriptor
is its argument. It ends with its input, and so with its replica.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentloop.contracts.errors import RequestRejected
from agentloop.lifecycle.bundle import Signature
from agentloop.serving.protocol.decoding import RequestDecoder
from agentloop.serving.protocol.request_wire import pack_request

READY, READ, REFUSED, FAILED = "ready", "read", "refused", "failed"
# The replica answers small requests meanwhile: they come first.
NICE = 10
MOST_EXPENDABLE = 1000
FRAME = struct.Struct("<I")


def receive(read: Callable[[int], bytes]) -> Any:
    """The next frame; None at the end. ``read`` gives as many bytes as it has, at most so many."""
    length = _exactly(read, FRAME.size)
    if length is None:
        return None
    content = _exactly(read, FRAME.unpack(length)[0])
    return None if content is None else pickle.loads(content)


def frame(value: Any) -> bytes:
    """What ``receive`` gives as ``value``."""
    content = pickle.dumps(value)
    return FRAME.pack(len(content)) + content


def answer(
    decoder: RequestDecoder, file: int, endpoint: str, size: int, json_length: bytes | None
) -> tuple[Any, ...]:
    """Read the body of ``size`` bytes in ``file``; what it held is there then, in its place.

    (READ, head, bytes), (REFUSED, status, reason), or (FAILED, words) for a mistake of ours.
    """
    try:
        body = os.pread(file, size, 0)
        head, parts = pack_request(decoder.decode(endpoint, body, json_length))
        at = 0
        for part in parts:
            at += _write(file, part, at)
    except RequestRejected as error:
        return REFUSED, error.status, error.reason
    except Exception:
        return FAILED, traceback.format_exc()
    return READ, head, at


def _write(file: int, part: bytes | memoryview, at: int) -> int:
    written = 0
    while written < len(part):
        written += os.pwrite(file, part[written:], at + written)
    return written


def _exactly(read: Callable[[int], bytes], size: int) -> bytes | None:
    found = b""
    while len(found) < size:
        part = read(size - len(found))
        if not part:
            return None
        found += part
    return found


def yield_to_replica() -> None:
    """Processor time to the replica first; and where memory runs out, this process goes first.

    Linux divides processors among sessions before it looks at nice, so the session, which is this
    process's own, has to be nice as well: in the replica's it would hold up everybody else.
    """
    os.nice(NICE)
    _tell("autogroup", NICE)
    _tell("oom_score_adj", MOST_EXPENDABLE)


def _tell(file: str, value: int) -> None:
    with contextlib.suppress(OSError):  # not every kernel has both
        Path("/proc/self", file).write_text(str(value), encoding="ascii")


def main() -> None:
    yield_to_replica()
    file, output = int(sys.argv[1]), os.dup(1)
    os.dup2(2, 1)  # whatever is printed is no answer

    def read(size: int) -> bytes:
        return os.read(0, size)

    signature: Signature | None = receive(read)
    if signature is None:
        return
    decoder = RequestDecoder(signature)
    os.write(output, frame((READY,)))
    while (order := receive(read)) is not None:
        os.write(output, frame(answer(decoder, file, *order)))


if __name__ == "__main__":
    main()
