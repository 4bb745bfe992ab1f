"""Counts travel from replicas to the edge: lost datagrams lose nothing, junk changes nothing."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from agentloop.contracts.traffic import ShadowCounts, VersionEvidence, VersionTraffic
from agentloop.serving.judging.channel import EVIDENCE_SOCKET, EvidenceSender
from agentloop.serving.judging.counts import (
    EvidenceMessage,
    decode,
    encode,
    latency_bucket,
    slower_than,
)
from agentloop.serving.judging.label_reports import report_labels
from agentloop.serving.judging.receiver import EvidenceReceiver
from agentloop.serving.judging.table import MOST_PROCESSES, EvidenceTable
from agentloop.serving.replica.prediction_bins import PredictionBins

BINS = PredictionBins(("a", "b"))


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="ev", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def receiver(folder):
    found = EvidenceReceiver(folder)
    found.start()
    yield found
    found.stop()


def labels(*names):
    return np.array(names, dtype=object)


def received(receiver, until):
    """The version's counts once ``until`` holds; the receiver reads in a thread of its own."""
    deadline = time.monotonic() + 5
    while True:
        found = receiver.evidence("m").get("v1", VersionEvidence())
        if until(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.002)


def message(sequence, answers, process="p", version="v1"):
    counts = VersionEvidence(answers, latency={1: answers} if answers else {})
    return EvidenceMessage("m", version, process, sequence, counts)


async def test_what_a_replica_answers_reaches_the_edge(receiver, folder):
    sender = EvidenceSender("m", "v1", BINS, folder)
    sender.note(0.004, 200, labels("a"), False)
    sender.note(0.004, 200, labels("a", "b", "b", "b"), False)
    sender.note(0.3, 200, labels("b"), True)
    sender.note(0.1, 500, labels(), False)
    sender.note(0.1, 422, labels(), False)
    sender.shadowed("v2", compared=1, disagreed=0.25)
    found = await asyncio.to_thread(received, receiver, lambda e: e.answers)
    assert (found.answers, found.failures) == (3, 1)
    assert found.predictions == {":a": 1.25, ":b": 0.75}
    assert slower_than(found.latency, 100.0) == 1
    assert found.shadows == {"v2": ShadowCounts(1, 0.25)}
    sender.close()


def test_labels_are_reported_by_whoever_joins_them(monkeypatch, folder, tmp_path):
    monkeypatch.setattr("agentloop.serving.judging.label_reports.run_dir", lambda home: folder)
    assert not report_labels(tmp_path, "m", "v1", correct=2, total=3)
    receiver = EvidenceReceiver(folder)
    receiver.start()
    for _ in range(MOST_PROCESSES + 10):
        assert report_labels(tmp_path, "m", "v1", correct=2, total=3)
    wanted = 3.0 * (MOST_PROCESSES + 10)
    found = received(receiver, lambda e: e.labelled == wanted)
    assert found.right == wanted * 2 / 3
    receiver.stop()
    for wrong in ((4, 3), (-1, 3)):
        with pytest.raises(ValueError, match="correct of"):
            report_labels(tmp_path, "m", "v1", correct=wrong[0], total=wrong[1])


async def test_what_nobody_took_is_in_the_next_message(folder):
    sender = EvidenceSender("m", "v1", BINS, folder)
    sender.note(0.004, 200, labels("a"), False)
    assert not sender.flush()
    receiver = EvidenceReceiver(folder)
    receiver.start()
    sender.note(0.004, 200, labels("a"), False)
    assert sender.flush()
    found = await asyncio.to_thread(received, receiver, lambda e: e.answers)
    assert found.answers == 2
    receiver.stop()
    sender.close()


async def test_a_receiver_that_reads_nothing_holds_nobody_up(folder):
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    deaf.bind(str(folder / EVIDENCE_SOCKET))
    sender = EvidenceSender("m", "v1", BINS, folder)
    start = time.perf_counter()
    results = [sender.flush() for _ in range(2000)]
    assert not all(results)
    assert time.perf_counter() - start < 2
    deaf.close()
    sender.close()


def test_junk_is_dropped_and_the_receiver_goes_on(receiver, folder):
    sound = message(1, 5)
    junk = [
        b"",
        b"not json",
        b"[1]",
        b"[" * 50_000,
        encode(sound).replace(b'"answers":5', b'"answers":-5'),
        encode(sound).replace(b'"answers":5', b'"answers":1e999'),
        encode(sound).replace(b'"model":"m"', b'"model":{}'),
    ]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        for data in (*junk, encode(sound)):
            out.sendto(data, str(folder / EVIDENCE_SOCKET))
    assert received(receiver, lambda e: e.answers).answers == 5


def test_a_receiver_stops_and_another_takes_its_place(folder):
    first = EvidenceReceiver(folder)
    first.start()
    second = EvidenceReceiver(folder)  # as after a SIGKILL of the actor: the file is there still
    second.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(encode(message(1, 5)), str(folder / EVIDENCE_SOCKET))
    assert received(second, lambda e: e.answers).answers == 5
    second.stop()
    first.stop()
    first.stop()
    assert not (folder / EVIDENCE_SOCKET).exists()


def test_evidence_stands_beside_the_edges_counts(receiver, folder):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(encode(message(1, 5)), str(folder / EVIDENCE_SOCKET))
    received(receiver, lambda e: e.answers)
    first, second = receiver.beside(
        "m", [VersionTraffic("v1", 90, 7, 0), VersionTraffic("v2", 10, 0, 0)]
    )
    assert (first.requests, first.evidence.answers) == (7, 5)
    assert second.evidence == VersionEvidence()


def test_messages_survive_the_journey():
    counts = VersionEvidence(
        3, 1, {-3: 2, 40: 1}, {":ä": 2.5}, {"v2": ShadowCounts(4, 0.5, 1, 2)}, 5.0, 4.0
    )
    sent = EvidenceMessage("m", "v1", "p", 7, counts)
    assert decode(encode(sent)) == sent


def test_lost_repeated_and_late_messages_change_no_sum():
    table = EvidenceTable()
    for each in (message(1, 5), message(3, 9), message(2, 7), message(3, 9), message(1, 2, "q")):
        table.take(each)
    assert table.of("m")["v1"].answers == 11
    assert table.of("other") == {}


def test_a_table_that_begins_anew_counts_only_what_comes_after():
    table = EvidenceTable()
    table.take(message(40, 1000))
    assert table.of("m")["v1"].answers == 0
    table.take(message(41, 1003))
    assert table.of("m")["v1"].answers == 3


def test_processes_that_are_gone_stay_in_the_sum():
    table = EvidenceTable()
    for number in range(MOST_PROCESSES + 20):
        table.take(message(1, 2, f"p{number}"))
    assert table.of("m")["v1"].answers == 2 * (MOST_PROCESSES + 20)


def test_latency_buckets_are_narrow_and_the_budget_is_rounded_up():
    assert latency_bucket(100) == latency_bucket(99)
    assert slower_than({latency_bucket(100): 5, latency_bucket(112): 2}, 100.0) == 2
    assert slower_than({latency_bucket(0.5): 5}, 0.4) == 5


def test_values_are_binned_by_both_versions_quantiles():
    bins = PredictionBins((), [[0.0, 1.0, 2.0], [0.5, 1.5]])
    names = bins.names(1.2)
    assert [name.split(":")[1] for name in names] == ["2", "1"]
    other = PredictionBins((), [[5.0], [0.0, 1.0, 2.0]])
    assert names[0] in other.names(1.2)
    assert bins.differing([1.0, 1.0], [1.03, 1.3]) == 0.5  # 2% of the range of 2 is allowed
    assert bins.differing([1.0], ["x"]) == bins.differing([1.0], []) == 1.0


def test_classes_that_are_unknown_or_odd_have_a_counter_too():
    bins = PredictionBins(("a:b", "x" * 500))
    assert bins.names("a:b") == (":a:b",)
    assert len(bins.names("x" * 500)[0]) < 100
    assert bins.names("new") == (":*",)


async def test_counting_costs_the_request_two_microseconds_at_most(folder):
    sender = EvidenceSender("m", "v1", BINS, folder)
    one = labels("a")
    sender.note(0.004, 200, one, False)

    def microseconds():
        start = time.perf_counter()
        for _ in range(20_000):
            sender.note(0.004, 200, one, False)
        return (time.perf_counter() - start) / 20_000 * 1e6

    assert min(microseconds() for _ in range(7)) < 2.0
    sender.close()
