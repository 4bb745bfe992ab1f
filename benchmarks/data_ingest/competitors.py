"""Who takes part: a script, the environment that it runs in, and its variant."""

from __future__ import annotations

from dataclasses import dataclass

from summary import OURS, PANDAS


@dataclass(frozen=True, slots=True)
class Competitor:
    """``environment`` is that of peers/<environment>.txt; "" is the product's own."""

    title: str
    script: str
    environment: str = ""
    option: str = ""


COMPETITORS = {
    OURS: Competitor(OURS, "peer_agentloop.py"),
    "pandas": Competitor(PANDAS[0], "peer_pandas.py", "data_pandas"),
    "pandas-pyarrow": Competitor(PANDAS[1], "peer_pandas.py", "data_pandas", "pyarrow"),
    "polars": Competitor("polars script", "peer_polars.py", "data_polars"),
    "duckdb": Competitor("duckdb script", "peer_duckdb.py", "data_duckdb"),
}
BLOCK_CHECKS = (
    Competitor("agentloop", "blocks_agentloop.py"),
    Competitor("pandera, pandas", "blocks_pandera.py", "data_pandas", "pandas"),
    Competitor("pandera, polars", "blocks_pandera.py", "data_polars", "polars"),
)
