"""Bodies in memory, within bounds."""

from __future__ import annotations

import pytest

from agentloop.contracts import RequestRejected
from agentloop.serving.replica.request_body import BodyReader, check_content_type


def receiver(*chunks, end=False):
    left = [*chunks]

    async def receive():
        if not left:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or not end}

    return receive


async def test_chunks_are_joined():
    assert await BodyReader(10).read(receiver(b"ab", b"", b"cd", end=True)) == b"abcd"
    assert await BodyReader(4).read(receiver(b"abcd", end=True)) == b"abcd"


@pytest.mark.parametrize(
    ("chunks", "status"),
    [([b"abcde"], 413), ([b"abc", b"de"], 413), ([b"ab"], 400), ([], 400)],
)
async def test_a_body_that_is_too_long_or_cut_off_is_refused(chunks, status):
    with pytest.raises(RequestRejected) as caught:
        await BodyReader(4).read(receiver(*chunks, end=len(chunks) > 1 or b"abcde" in chunks))
    assert caught.value.status == status


async def test_endless_chunks_are_cut_off_at_the_cap():
    async def endless():
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    with pytest.raises(RequestRejected) as caught:
        await BodyReader(1000).read(endless)
    assert caught.value.status == 413


async def test_all_arriving_bodies_share_a_bound_and_give_it_back():
    reader = BodyReader(80, max_arriving=100)
    statuses = []
    pieces = [b"x" * 50, b"x" * 10]

    async def slow():
        if len(pieces) == 1:  # in the midst of this body another one of 60 bytes arrives
            with pytest.raises(RequestRejected) as caught:
                await reader.read(receiver(b"y" * 30, b"y" * 30, end=True))
            statuses.append(caught.value.status)
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    assert len(await reader.read(slow)) == 60
    assert statuses == [429]
    assert await reader.read(receiver(b"y" * 30, b"y" * 30, end=True)) == b"y" * 60


def test_bodies_that_wait_share_the_bound_too():
    reader = BodyReader(80, max_arriving=100)
    with reader.held(60):
        with pytest.raises(RequestRejected) as caught, reader.held(60):
            pass
        assert caught.value.status == 429
    with reader.held(60):
        pass


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"content-type": b"application/json"},
        {b"content-type": b"Application/JSON; charset=UTF-8"},
        {b"content-type": b"application/octet-stream", b"content-encoding": b"identity"},
    ],
)
def test_json_and_raw_tensors_are_taken(headers):
    check_content_type(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {b"content-encoding": b"gzip"},
        {b"content-encoding": b"\xff"},
        {b"content-type": b"text/csv"},
        {b"content-type": b"application/json; charset=latin-1"},
        {b"content-type": b"\xff" * 5000},
        {b"content-type": b""},
    ],
)
def test_all_else_is_415(headers):
    with pytest.raises(RequestRejected) as caught:
        check_content_type(headers)
    assert caught.value.status == 415
    assert len(caught.value.reason) < 100
