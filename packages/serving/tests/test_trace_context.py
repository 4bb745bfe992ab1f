"""W3C trace context: what is passed on, and what begins anew."""

from __future__ import annotations

import pytest

from agentloop.serving.protocol.trace_context import enter_trace

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
PARENT = b"00-" + TRACE + b"-" + SPAN + b"-01"


def fixed_bits(count):
    return (1 << count) - 2


def test_a_trace_goes_on_with_a_span_of_this_hop():
    context = enter_trace(PARENT, b"vendor=1, other@sys=2", fixed_bits)
    assert context.parent == b"00-" + TRACE + b"-fffffffffffffffe-01"
    assert context.headers() == [
        (b"traceparent", context.parent),
        (b"tracestate", b"vendor=1,other@sys=2"),
    ]


@pytest.mark.parametrize(
    "parent",
    [
        None,
        b"",
        b"junk",
        PARENT.upper(),
        PARENT + b"-more",
        b"ff" + PARENT[2:],
        PARENT.replace(TRACE, b"0" * 32),
        PARENT.replace(SPAN, b"0" * 16),
        PARENT[:-1],
        PARENT.replace(b"-", b"_"),
        b"00-" + TRACE[:-1] + b"g-" + SPAN + b"-01",
        PARENT * 1000,
    ],
)
def test_an_invalid_parent_begins_a_trace_and_forgets_the_state(parent):
    context = enter_trace(parent, b"vendor=1", fixed_bits)
    assert context.parent == b"00-" + b"f" * 31 + b"e-" + b"f" * 15 + b"e-00"
    assert context.headers() == [(b"traceparent", context.parent)]


def test_a_later_version_may_say_more():
    context = enter_trace(b"01" + PARENT[2:] + b"-what.the.future.holds")
    assert context.trace_id == TRACE
    assert context.parent.startswith(b"00-")


@pytest.mark.parametrize(("given", "sent"), [(b"00", b"00"), (b"03", b"03"), (b"ff", b"03")])
def test_flags_that_are_not_known_are_sent_as_zero(given, sent):
    assert enter_trace(PARENT[:-2] + given).flags == sent


@pytest.mark.parametrize(
    "state",
    [
        b"no equals",
        b"a=1,a=2",
        b"A=1",
        b"a=b=c",
        b"a=" + b"x" * 257,
        b"a=\x00",
        b",".join(b"k%d=v" % i for i in range(33)),
        b"a=1," * 5000,
    ],
)
def test_a_state_that_is_not_valid_is_dropped_alone(state):
    context = enter_trace(PARENT, state)
    assert (context.trace_id, context.state) == (TRACE, b"")


def test_as_many_members_as_are_allowed_pass_and_empty_ones_do_not():
    members = [b"k%d=v" % i for i in range(32)]
    assert enter_trace(PARENT, b", ,".join(members)).state == b",".join(members)


def test_every_hop_has_another_span():
    assert len({enter_trace(PARENT).span_id for _ in range(100)}) == 100
