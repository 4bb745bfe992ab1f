"""A Parquet file whose row groups do not depend on how its rows arrive."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 65_536


class FixedGroups:
    """Rows are written ``ROW_GROUP_ROWS`` at a time; ``close`` writes the rest."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(
            path, schema, compression="zstd", version="2.6", store_schema=False
        )
        self._waiting = schema.empty_table()

    def write(self, table: pa.Table) -> None:
        waiting = pa.concat_tables([self._waiting, table])
        while waiting.num_rows >= ROW_GROUP_ROWS:
            self._write(waiting.slice(0, ROW_GROUP_ROWS))
            waiting = waiting.slice(ROW_GROUP_ROWS)
        self._waiting = waiting

    def close(self, complete: bool = True) -> None:
        if complete and self._waiting.num_rows:
            self._write(self._waiting)
        self._writer.close()

    def _write(self, group: pa.Table) -> None:
        self._writer.write_table(group.combine_chunks(), row_group_size=ROW_GROUP_ROWS)
