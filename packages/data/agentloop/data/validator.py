"""Judge a batch by what its one pass counted. Pure: no rows are read here."""

from __future__ import annotations

from collections.abc import Iterator

from agentloop.contracts.data import BatchValidation, Finding, Severity
from agentloop.contracts.spec import ChecksSpec
from agentloop.data.batch import Tally, TransformedBatch
from agentloop.data.compare import compare_profiles
from agentloop.data.profiler import build_profile

_TOLD = {
    "target": "have no value in the target column '{0}'",
    "nulls": "have no value in '{0}', which is declared as not nullable",
    "finite": "have an infinite value in '{0}'",
    "minimum": "are below the declared minimum of '{0}'",
    "maximum": "are above the declared maximum of '{0}'",
    "categories": "have an undeclared category in '{0}'",
    "unique": "repeat a value of '{0}', which is declared as unique",
}


class DataValidator:
    """Holds a batch against ``data.checks`` and the declared columns."""

    def __init__(self, checks: ChecksSpec) -> None:
        self._checks = checks

    async def validate(self, batch: TransformedBatch) -> tuple[bool, tuple[str, ...]]:
        """Whether the batch may become a version, and one sentence a reason why not."""
        report = self.report(batch)
        return report.is_valid, report.errors

    def report(self, batch: TransformedBatch) -> BatchValidation:
        """Every finding, warnings included."""
        findings = (
            *self._row_findings(batch),
            *self._volume_findings(batch),
            *self._column_findings(batch),
            *self._history_findings(batch),
            *(Finding("config", "warn", None, 0, note) for note in batch.notes),
        )
        return BatchValidation(all(f.severity != "reject" for f in findings), findings)

    def _row_findings(self, batch: TransformedBatch) -> Iterator[Finding]:
        for (check, column), tally in batch.tallies.items():
            severity = self._checks.on_failure
            if check == "target" and severity == "warn":
                severity = "quarantine"  # nothing can be learnt from such a row
            message = f"{_rows(tally.count)} {_TOLD[check].format(column)}{_examples(tally)}"
            yield Finding(check, severity, column, tally.count, message, tally.examples)

    def _volume_findings(self, batch: TransformedBatch) -> Iterator[Finding]:
        if batch.rows < self._checks.min_rows:
            message = f"{_rows(batch.rows)} passed; data.checks.min_rows is {self._checks.min_rows}"
            yield Finding("min_rows", "reject", None, batch.rows, message)
        rate = batch.anomalies / batch.rows if batch.rows else 0.0
        if batch.anomalies:
            limit = self._checks.max_anomaly_rate
            over = rate > limit
            message = f"{_rows(batch.anomalies)} ({rate:.1%}) lie far outside the rest"
            message += f"; data.checks.max_anomaly_rate is {limit:g}" if over else ""
            severity = self._batch_severity if over else "warn"
            yield Finding("anomaly", severity, None, batch.anomalies, message)

    def _column_findings(self, batch: TransformedBatch) -> Iterator[Finding]:
        for name, summary in batch.summaries.items():
            total = summary.count + summary.nulls
            rate = summary.nulls / total if total else 0.0
            if rate > self._checks.max_null_rate:
                message = (
                    f"'{name}' has {rate:.1%} nulls; data.checks.max_null_rate is "
                    f"{self._checks.max_null_rate:g}"
                )
                yield Finding("null_rate", self._batch_severity, name, summary.nulls, message)
            if summary.distinct.estimate == 1 and not summary.nulls and batch.rows > 1:
                if name == batch.schema.target:
                    message = f"the target '{name}' has one value only: nothing can be learnt"
                    yield Finding("constant", "reject", name, summary.count, message)
                else:
                    message = f"'{name}' has one value only"
                    yield Finding("constant", "warn", name, summary.count, message)

    def _history_findings(self, batch: TransformedBatch) -> Iterator[Finding]:
        if batch.last is not None:
            yield from compare_profiles(build_profile(batch), batch.last.profile)

    @property
    def _batch_severity(self) -> Severity:
        """A finding on a whole column has no rows to set aside: it rejects, or it is told."""
        return "reject" if self._checks.on_failure == "reject" else "warn"


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _examples(tally: Tally) -> str:
    return f" (for instance {', '.join(tally.examples)})" if tally.examples else ""
