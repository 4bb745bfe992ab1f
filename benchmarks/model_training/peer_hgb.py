"""scikit-learn's histogram gradient boosting as it comes, on a stored version's own split.

python peer_hgb.py TASK DATASET        one JSON line of test metrics on stdout
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from agentloop.contracts.spec_file import load_spec
from agentloop.lifecycle.arrow_split import split_rows

FEW_CATEGORIES = 255  # what the library takes


def main() -> int:
    spec = load_spec(Path(sys.argv[1]))
    table = pa.concat_tables([pq.read_table(p) for p in sorted(Path(sys.argv[2]).glob("part-*"))])
    target = spec.data.target
    columns, categorical = {}, []
    for name in table.column_names:
        values = table.column(name)
        is_text = pa.types.is_large_string(values.type) or pa.types.is_string(values.type)
        plain = values.to_numpy(zero_copy_only=False)
        if name == target or pa.types.is_timestamp(values.type):
            continue
        if is_text:
            codes = np.unique([str(v) for v in plain], return_inverse=True)[1].astype(float)
            codes[[v is None for v in plain]] = np.nan
            if len(np.unique(codes)) <= FEW_CATEGORIES:
                columns[name] = codes
                categorical.append(name)
            continue
        columns[name] = np.array([np.nan if v is None else float(v) for v in plain])
    test = _test(table, spec)
    x = np.column_stack(list(columns.values()))
    mask = [name in categorical for name in columns]
    print(json.dumps(_measure(table.column(target), x, mask, test)))
    return 0


def _test(table: pa.Table, spec: Any) -> Any:
    name = spec.data.split.column
    given = {}
    if name:
        values = table.column(name).to_numpy(zero_copy_only=False)
        is_number = not pa.types.is_large_string(table.column(name).type)
        given[name] = values.astype(float) if is_number else values.astype(object)
    return split_rows(given, table.num_rows, spec.data.split)


def _measure(labels: Any, x: Any, categorical: list[bool], test: Any) -> dict[str, float]:
    if pa.types.is_floating(labels.type):
        y = labels.to_numpy(zero_copy_only=False)
        model = HistGradientBoostingRegressor(random_state=0, categorical_features=categorical)
        model.fit(x[~test], y[~test])
        return {"r2": r2_score(y[test], model.predict(x[test]))}
    y = np.array([str(v) for v in labels.to_pylist()])
    classifier = HistGradientBoostingClassifier(random_state=0, categorical_features=categorical)
    classifier.fit(x[~test], y[~test])
    scores = classifier.predict_proba(x[test])
    area = roc_auc_score(y[test] == classifier.classes_[1], scores[:, 1])
    right = accuracy_score(y[test], classifier.classes_[scores.argmax(axis=1)])
    return {"accuracy": right, "roc_auc": area}


if __name__ == "__main__":
    raise SystemExit(main())
