"""Judge a batch by what its one pass counted. Pure: no rows are read here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from agentloop.contracts.data import BatchValidation, DataProfile, Finding, Severity
from agentloop.contracts.spec import ChecksSpec
from agentloop.data.batch import Tally, TransformedBatch
from agentloop.data.compare import compare_profiles
from agentloop.data.policy import Verdict, batch_verdict, row_verdict
from agentloop.data.profiler import build_profile

_TOLD = {
    "target": "have no value in the target column '{0}'",
    "nulls": "have no value in '{0}', which is declared as not nullable",
    "finite": "have an infinite value in '{0}'",
    "minimum": "are below the declared minimum of '{0}'",
    "maximum": "are above the declared maximum of '{0}'",
    "categories": "have an undeclared category in '{0}'",
    "pattern": "do not match the declared pattern of '{0}'",
    "unique": "repeat a value of '{0}', which is declared as unique",
    "rule": "break the rule {0}",
    "kind": "have a value in '{0}' that is not of its kind",
    "torn": "cannot be read as rows of this source",
}


class DataValidator:
    """Holds a batch against ``data.checks``, the declared columns and the accepted history."""

    def __init__(self, checks: ChecksSpec) -> None:
        self._checks = checks

    async def validate(self, batch: TransformedBatch) -> tuple[bool, tuple[str, ...]]:
        """Whether the batch may become a version, and one sentence a reason why not."""
        report = self.report(batch)
        return report.is_valid, report.errors

    def report(
        self,
        batch: TransformedBatch,
        profile: DataProfile | None = None,
        now: datetime | None = None,
    ) -> BatchValidation:
        """Every finding, warnings included. ``now`` is what freshness is measured from."""
        profile = profile or build_profile(batch)
        findings = (
            *self._row_findings(batch),
            *self._anomaly_findings(batch),
            *self._volume_findings(batch),
            *self._column_findings(batch),
            *self._history_findings(batch, profile),
            *self._age_findings(batch, now),
            *(Finding("config", "warn", None, 0, note) for note in batch.notes),
        )
        return BatchValidation(all(f.severity != "reject" for f in findings), findings)

    def _row_findings(self, batch: TransformedBatch) -> Iterator[Finding]:
        for (check, subject), tally in batch.tallies.items():
            if check == "anomaly":
                continue
            verdict = row_verdict(self._checks, (check, subject))
            message = f"{_rows(tally.count)} {_told(check, subject, tally.count)}{_examples(tally)}"
            column = subject if check not in ("rule", "torn") else None
            yield _finding(check, verdict, column, tally, message)

    def _anomaly_findings(self, batch: TransformedBatch) -> Iterator[Finding]:
        columns = Counter(
            {name: t.count for (check, name), t in batch.tallies.items() if check == "anomaly"}
        )
        if not columns:
            return
        rate = batch.anomalies / max(batch.rows + batch.failing, 1)
        limit = self._checks.max_anomaly_rate
        verdict = row_verdict(self._checks, ("anomaly", ""))
        limited = f"; data.checks.max_anomaly_rate is {limit:g}" if rate > limit else ""
        if rate > limit and "anomaly" not in self._checks.policy:
            verdict = batch_verdict(self._checks, "anomaly", "max_anomaly_rate")
        explained = ", ".join(f"'{name}' ({n:,})" for name, n in columns.most_common(3))
        message = f"{_rows(batch.anomalies)} ({rate:.1%}) lie far outside the rest, by {explained}"
        first = max(columns, key=lambda name: columns[name])
        tally = batch.tallies["anomaly", first]
        told = Tally(batch.anomalies, tally.examples)
        yield _finding("anomaly", verdict, first, told, message + limited)

    def _volume_findings(self, batch: TransformedBatch) -> Iterator[Finding]:
        if batch.rows < self._checks.min_rows:
            message = f"{_rows(batch.rows)} passed; data.checks.min_rows is {self._checks.min_rows}"
            policy = f"data.checks.min_rows: {self._checks.min_rows}"
            yield Finding("min_rows", "reject", None, batch.rows, message, policy=policy)

    def _column_findings(self, batch: TransformedBatch) -> Iterator[Finding]:
        for name, summary in batch.summaries.items():
            total = summary.count + summary.nulls
            rate = summary.nulls / total if total else 0.0
            if rate > self._checks.max_null_rate:
                limit = self._checks.max_null_rate
                message = f"'{name}' has {rate:.1%} nulls; data.checks.max_null_rate is {limit:g}"
                verdict = batch_verdict(self._checks, "null_rate", "max_null_rate")
                yield _finding("null_rate", verdict, name, Tally(summary.nulls), message)
            if summary.distinct.estimate == 1 and not summary.nulls and batch.rows > 1:
                yield _constant(name, name == batch.schema.target, summary.count)

    def _history_findings(self, batch: TransformedBatch, profile: DataProfile) -> Iterator[Finding]:
        past = tuple(accepted.profile for accepted in batch.history)[: self._checks.history]
        for change in compare_profiles(profile, past):
            severity: Severity = self._checks.policy.get(change.check, "warn")  # type: ignore[call-overload]
            severity = "warn" if severity == "quarantine" else severity
            policy = f"data.checks.policy.{change.check}: {severity}"
            verdict = Verdict(severity, policy)
            yield _finding(
                change.check, verdict, change.column, Tally(change.count), change.message
            )

    def _age_findings(self, batch: TransformedBatch, now: datetime | None) -> Iterator[Finding]:
        limit = self._checks.max_age_hours
        if limit is None or not batch.latest_time:
            return
        try:
            latest = datetime.fromisoformat(batch.latest_time).replace(tzinfo=UTC)
        except ValueError:
            return  # the time column holds numbers, whose unit is not known
        hours = ((now or datetime.now(UTC)) - latest).total_seconds() / 3600
        if hours > limit:
            message = (
                f"the newest row is {hours:,.1f} hours old ({batch.latest_time}); "
                f"data.checks.max_age_hours is {limit:g}"
            )
            verdict = batch_verdict(self._checks, "freshness", "max_age_hours")
            yield _finding("freshness", verdict, None, Tally(0), message)


def _finding(
    check: str, verdict: Verdict, column: str | None, tally: Tally, message: str
) -> Finding:
    return Finding(
        check,
        verdict.severity,
        column,
        tally.count,
        message,
        tuple(e.value for e in tally.examples if e.value),
        tuple({"#": str(e.row + 1), **e.values} for e in tally.examples),
        verdict.policy,
    )


def _constant(name: str, is_target: bool, count: int) -> Finding:
    if is_target:
        message = f"the target '{name}' has one value only: nothing can be learnt"
        return Finding("constant", "reject", name, count, message, policy="always")
    return Finding("constant", "warn", name, count, f"'{name}' has one value only")


def _told(check: str, subject: str, count: int) -> str:
    told = _TOLD[check].format(subject)
    if count != 1:
        return told
    first, _, rest = told.partition(" ")
    singular = {"have": "has", "are": "is", "do": "does", "repeat": "repeats", "break": "breaks"}
    return f"{singular.get(first, first)} {rest}"


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _examples(tally: Tally) -> str:
    shown = [f"row {e.row + 1}" + (f": {e.value}" if e.value else "") for e in tally.examples]
    return f" (for instance {', '.join(shown)})" if shown else ""
