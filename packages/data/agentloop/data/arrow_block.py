"""One block of a batch: cast it, transform it, check its rows. Runs inside Ray Data's workers."""

from __future__ import annotations

import pickle
import time
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from agentloop.contracts.data import DataSchema
from agentloop.data.arrow_cast import MAX_MISFITS, STORED_TYPES, Bad, cast_column, normalise
from agentloop.data.arrow_checks import (
    Failure,
    Mask,
    check_rows,
    find_anomalies,
    numbers_of,
    tally,
)
from agentloop.data.arrow_extract import RawRows, TornRow
from agentloop.data.batch import MAX_EXAMPLES, CheckKey, Example, ScanPlan, Tally
from agentloop.data.policy import row_verdict
from agentloop.data.sketch import Hashes

REASONS = "_reasons"
TORN: CheckKey = ("torn", "")
Places = npt.NDArray[np.int64]
# The part of a source, and the chunk of the part: the same in every pass.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Block:
    """A block's outcome. ``rows`` passed, ``failing`` were set aside with their reasons;
    ``misfits`` maps a column to (row in block, value) of another kind; ``total`` counts all rows
    that the block had, torn ones included, and ``places`` says where in the block each of ``rows``
    was; ``index`` says where among the block's ``source_rows``, of which there are ``taken``.
    ``keys`` are what each drop_duplicates compares them by. Places in tallies count from the
    block's beginning; ``place`` tells the block from all others."""

    total: int
    rows: pa.Table
    place: Place
    index: Places
    places: Places
    keys: tuple[Hashes, ...]
    failing: pa.Table | None
    misfits: dict[str, Bad]
    tallies: dict[CheckKey, Tally]
    anomalies: int
    taken: int
    seconds: float = 0.0


def inspect_block(raw: RawRows, plan: ScanPlan, place: Place = (0, 0)) -> Block:
    """Pure: the same block gives the same outcome."""
    began = time.thread_time()
    total = raw.table.num_rows + len(raw.torn)
    typed, misfits = _read_as(raw.table, plan)
    places = _places(raw)
    unfit, misfits = _unfit(misfits, typed.num_rows, plan)
    keys: tuple[Hashes, ...] = ()
    if plan.since is not None:
        newer = _newer(typed, plan.since)
        typed, places = typed.filter(pa.array(newer)), places[newer]
        unfit = [_among(failure, newer) for failure in unfit]
    if plan.steps is not None and not misfits:
        from agentloop.data.arrow_steps import apply_keyed

        applied = apply_keyed(typed, plan.steps)
        more, misfits = _unfit(applied.misfits, typed.num_rows, plan)
        typed, keys, unfit = applied.table, applied.keys, [*unfit, *more]
    final, more_misfits = _as_stored(typed, plan.schema)
    more, more_misfits = _unfit(more_misfits, final.num_rows, plan)
    misfits = {**misfits, **more_misfits}
    odd = find_anomalies(final, plan.scales)
    failures = [*unfit, *more, *check_rows(final, plan), *odd]
    tallies = {failure.key: tally(final, failure, places) for failure in failures}
    dropping = _dropping(failures, plan)
    drop = np.any([f.mask for f in dropping], axis=0) if dropping else np.zeros(len(places), bool)
    failing = _with_reasons(final, dropping, drop) if dropping else None
    if raw.torn:
        tallies[TORN] = _torn_tally(raw.torn)
        failing = _with_torn(failing, raw.torn, final.schema)
    keep = pa.array(~drop)
    return Block(
        total,
        final.filter(keep) if dropping else final,
        place,
        np.flatnonzero(~drop),
        places[~drop],
        tuple(key[~drop] for key in keys),
        failing,
        misfits,
        tallies,
        int(np.any([f.mask for f in odd], axis=0).sum()) if odd else 0,
        final.num_rows,
        time.thread_time() - began,
    )


def pack(block: Block) -> pa.Table:
    """One row that holds the outcome: its rows as an IPC stream, which is read back without a
    copy, and the rest pickled."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, block.rows.schema) as writer:
        writer.write_table(block.rows)
    rest = pickle.dumps(replace(block, rows=block.rows.schema.empty_table()), protocol=5)
    return pa.table({"rows": _cell(sink.getvalue()), "rest": _cell(pa.py_buffer(rest))})


def unpack(packed: pa.Table) -> list[Block]:
    """The outcomes in a table of packed blocks."""
    return [
        replace(
            pickle.loads(rest.as_buffer()), rows=pa.ipc.open_stream(rows.as_buffer()).read_all()
        )
        for rows, rest in zip(packed.column("rows"), packed.column("rest"), strict=True)
    ]


def _cell(data: pa.Buffer) -> pa.Array:
    """One large_binary value, without a copy."""
    offsets = pa.py_buffer(np.array([0, data.size], np.int64))
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, data])


def arrow_schema(schema: DataSchema) -> pa.Schema:
    """The stored types of a schema's columns."""
    return pa.schema([(column.name, STORED_TYPES[column.kind]) for column in schema.columns])


def source_rows(table: pa.Table, plan: ScanPlan) -> pa.Table:
    """The rows that are taken of a block, in the types of their kinds, before any step. Values that
    do not fit are null."""
    typed, _ = _read_as(table, plan)
    return typed if plan.since is None else typed.filter(pa.array(_newer(typed, plan.since)))


def stored(table: pa.Table, schema: DataSchema) -> pa.Table:
    """The columns of ``schema`` in their stored types. Values that do not fit are null."""
    return _as_stored(table, schema)[0]


def _read_as(table: pa.Table, plan: ScanPlan) -> tuple[pa.Table, dict[str, Bad]]:
    arrays: dict[str, pa.Array] = {}
    misfits: dict[str, Bad] = {}
    for name, kind in plan.kinds.items():
        if name not in table.column_names:
            arrays[name] = pa.nulls(table.num_rows, STORED_TYPES[kind])
            continue
        plain = normalise(table.column(name), plan.missing, plan.from_text)
        arrays[name], bad = cast_column(plain, kind)
        if bad:
            misfits[name] = bad
    return pa.table(arrays), misfits


def _as_stored(table: pa.Table, schema: DataSchema) -> tuple[pa.Table, dict[str, Bad]]:
    arrays, misfits = [], {}
    for column in schema.columns:
        array = table.column(column.name)
        if array.type != STORED_TYPES[column.kind]:
            array, bad = cast_column(array.combine_chunks(), column.kind)
            if bad:
                misfits[column.name] = bad
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=arrow_schema(schema)), misfits


def _unfit(
    misfits: dict[str, Bad], rows: int, plan: ScanPlan
) -> tuple[list[Failure], dict[str, Bad]]:
    """Values of another kind as failures, and those that refuse the whole batch: where the policy
    says so, or where most of a block is of another kind."""
    failures, refused = [], {}
    kinds = {**plan.kinds, **{column.name: column.kind for column in plan.schema.columns}}
    for name, bad in misfits.items():
        if len(bad) >= MAX_MISFITS or row_verdict(plan.checks, ("kind", name)).severity == "reject":
            refused[name] = bad
            continue
        mask: Mask = np.zeros(rows, bool)
        mask[[row for row, _ in bad]] = True
        told = f"is not {with_article(kinds[name])}"
        failures.append(Failure(("kind", name), mask, told, dict(bad)))
    return failures, refused


def _among(failure: Failure, kept: Mask) -> Failure:
    """The same failure, of the rows that are kept."""
    place = np.cumsum(kept) - 1
    values = {int(place[row]): text for row, text in failure.values.items() if kept[row]}
    return Failure(failure.key, failure.mask[kept], failure.told, values)


def with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _newer(table: pa.Table, since: tuple[str, float]) -> Mask:
    column = table.column(since[0])
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    newer: Mask = numbers_of(column) > since[1]
    return newer


def _places(raw: RawRows) -> Places:
    """Where in the block each row of the table was, torn rows counted."""
    torn = [row.number - 1 for row in raw.torn if row.number is not None]
    places = np.setdiff1d(np.arange(raw.table.num_rows + len(torn)), torn, assume_unique=True)
    return places.astype(np.int64)[: raw.table.num_rows]


def _dropping(failures: list[Failure], plan: ScanPlan) -> list[Failure]:
    """Those whose policy is not to warn."""
    return [f for f in failures if row_verdict(plan.checks, f.key).severity != "warn"]


def _with_reasons(table: pa.Table, failures: list[Failure], drop: Mask) -> pa.Table:
    reasons = [
        "; ".join(f.reason(int(row)) for f in failures if f.mask[row])
        for row in np.flatnonzero(drop)
    ]
    return table.filter(pa.array(drop)).append_column(REASONS, pa.array(reasons, pa.string()))


def _torn_tally(torn: tuple[TornRow, ...]) -> Tally:
    examples = tuple(
        Example((row.number or 1) - 1, row.text, {"row": row.text, "reason": row.reason})
        for row in torn[:MAX_EXAMPLES]
    )
    return Tally(len(torn), examples)


def _with_torn(failing: pa.Table | None, torn: tuple[TornRow, ...], schema: pa.Schema) -> pa.Table:
    """The failing rows and the torn ones, which have no values but their text as reason."""
    told = pa.array([f"{row.reason}: {row.text}" for row in torn], pa.string())
    columns = [pa.nulls(len(torn), field.type) for field in schema]
    rows = pa.Table.from_arrays([*columns, told], names=[*schema.names, REASONS])
    return rows if failing is None else pa.concat_tables([failing, rows])
