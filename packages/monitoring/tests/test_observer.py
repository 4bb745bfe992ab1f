from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agentloop.lifecycle import ModelBundle
from agentloop.monitoring import FlushMessage, Observer, ObserverFactory
from agentloop.monitoring.counts import CountLayout
from agentloop.monitoring.folding import Folder
from agentloop.monitoring.observer import FlushAnswer


class Wire:
    """A transport that keeps what it is given and answers as told."""

    def __init__(self, *answers: FlushAnswer | Exception) -> None:
        self.sent: list[FlushMessage] = []
        self._answers = list(answers)

    def __call__(self, message: FlushMessage) -> FlushAnswer:
        self.sent.append(message)
        answer = self._answers.pop(0) if self._answers else "merged"
        if isinstance(answer, Exception):
            raise answer
        return answer


def observer(bundle: ModelBundle, wire: Wire) -> Observer:
    return Observer(bundle, "1.0.0", "replica-1", wire, flush_seconds=60.0)


@pytest.mark.parametrize("rows_a_call", [1, 7])
def test_calls_fold_into_the_same_counts_as_one_pass(
    bundle: ModelBundle, rows: Callable[..., Any], rows_a_call: int
) -> None:
    wire, (columns, labels) = Wire(), rows(350, 5)
    watched = observer(bundle, wire)
    for start in range(0, 350, rows_a_call):
        part = {n: v[start : start + rows_a_call] for n, v in columns.items()}
        watched.observe(part, labels[start : start + rows_a_call], 0.002, 200, "infer")
    assert watched.flush()
    layout = CountLayout(bundle.reference)
    assert (layout.decode(wire.sent[0].counts) == layout.fold(columns, labels)).all()
    assert wire.sent[0].answered == 350


def test_requests_and_latencies_are_counted(bundle: ModelBundle, rows: Callable[..., Any]) -> None:
    wire, (columns, labels) = Wire(), rows(1, 5)
    watched = observer(bundle, wire)
    watched.observe(columns, labels, 0.002, 200, "infer")
    watched.observe({}, np.empty(0), 0.7, 400, "infer")
    watched.flush()
    assert set(wire.sent[0].requests) == {("infer", 200, 1), ("infer", 400, 1)}
    (_, latency), *_ = wire.sent[0].latencies
    assert latency.buckets[1] == 1  # 2 ms is in the bucket up to 2.5 ms
    assert latency.buckets[8] == 1  # 0.7 s in the one up to 1 s
    assert latency.seconds == pytest.approx(0.702)


def test_unacknowledged_message_is_sent_again_unchanged(
    bundle: ModelBundle, rows: Callable[..., Any]
) -> None:
    wire = Wire(ConnectionError("no actor"), "unwatched")
    watched = observer(bundle, wire)
    for seed, acknowledged in ((1, False), (2, False), (3, True)):
        watched.observe(*rows(1, seed), 0.01, 200, "infer")
        assert watched.flush() is acknowledged
    watched.flush()
    assert wire.sent[0] == wire.sent[1] == wire.sent[2]
    assert [m.sequence for m in wire.sent] == [1, 1, 1, 2]
    assert sum(m.answered for m in wire.sent[2:]) == 3


def test_nothing_to_say_sends_nothing(bundle: ModelBundle) -> None:
    wire = Wire()
    assert observer(bundle, wire).flush()
    assert wire.sent == []


def test_odd_request_is_left_out_and_its_neighbours_are_not(
    bundle: ModelBundle, rows: Callable[..., Any]
) -> None:
    wire = Wire()
    watched = observer(bundle, wire)
    watched.observe(*rows(1, 1), 0.01, 200, "infer")
    watched.observe({"x0": np.array(["text"])}, np.array(["a"]), 0.01, 200, "infer")
    watched.observe(*rows(1, 2), 0.01, 200, "infer")
    watched.flush()
    assert wire.sent[0].answered == 2
    assert wire.sent[0].requests == (("infer", 200, 3),)


def test_integers_fold_like_floats(bundle: ModelBundle) -> None:
    wire = Wire()
    watched = observer(bundle, wire)
    for dtype in (np.int64, np.float64):
        columns = {name: np.array([1], dtype) for name in bundle.features.names}
        watched.observe(columns, np.array(["a"], object), 0.01, 200, "infer")
        watched.flush()
    assert wire.sent[0].counts == wire.sent[1].counts


def test_endpoints_are_bounded(bundle: ModelBundle) -> None:
    wire = Wire()
    watched = observer(bundle, wire)
    for i in range(100):
        watched.observe({}, np.empty(0), 0.01, 404, f"/scan/{i}")
    watched.flush()
    assert len(wire.sent[0].requests) <= 33


def test_flush_is_small(bundle: ModelBundle, rows: Callable[..., Any]) -> None:
    wire = Wire()
    watched = observer(bundle, wire)
    watched.observe(*rows(4000, 1), 0.01, 200, "infer")
    watched.flush()
    assert len(pickle.dumps(wire.sent[0])) < 6000


def test_factory_travels_by_pickle() -> None:
    factory = ObserverFactory(flush_seconds=0.5)
    assert pickle.loads(pickle.dumps(factory)) == factory


class Stacked(dict[str, Any]):
    """Columns of one matrix, as a replica of a model of numbers reads them."""

    def __init__(self, names: tuple[str, ...], matrix: Any) -> None:
        super().__init__(zip(names, matrix.T, strict=True))
        self.names, self.matrix = names, matrix


@pytest.mark.parametrize("mixed", ["alone", "another order", "beside plain columns"])
def test_requests_that_are_matrices_fold_as_their_columns_do(
    bundle: ModelBundle, rows: Callable[..., Any], mixed: str
) -> None:
    profile = bundle.reference
    numeric = tuple(c for c in profile.columns if c.kind == "numeric")
    folder = Folder(replace(profile, columns=numeric))
    names = tuple(column.name for column in numeric)
    columns, labels = rows(50, 5)
    plain = [({n: columns[n][i : i + 1].astype(float) for n in names}, labels[i : i + 1])
             for i in range(50)]  # fmt: skip
    order = names[::-1] if mixed == "another order" else names
    stacked: list[Any] = [
        (Stacked(order, np.array([[one[name][0] for name in order]])), label)
        for one, label in plain
    ]
    if mixed == "beside plain columns":
        stacked[7] = plain[7]
    counts, number = folder.fold(stacked)
    assert (counts == folder.fold(plain)[0]).all()
    assert (number, counts.sum() > 0) == (50, True)
