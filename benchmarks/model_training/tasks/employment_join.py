"""2015 with its labels, and 2016 to 2018 whose labels are joined on the row's id."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def load() -> Iterator[pa.Table]:
    folder = Path(os.environ["AGENTLOOP_SHARED"], "data", "employment_ma")
    reference = pq.read_table(folder / "employment_MA_reference.pq")
    rows = pq.read_table(folder / "employment_MA_analysis.pq")
    labels = pq.read_table(folder / "employment_MA_analysis_target.pq")
    yield reference
    joined = rows.join(labels, "id").sort_by("id")
    yield joined.select(reference.column_names)
