"""The validation front door: five suites, one decision, a signed report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.errors import ArtifactUnverified
from agentloop.contracts.models import (
    Check,
    ModelVersion,
    SuiteName,
    SuiteResult,
    ValidationReport,
)
from agentloop.contracts.spec import GateSpec
from agentloop.contracts.traffic import StagedModel
from agentloop.lifecycle.bundle import ModelBundle
from agentloop.lifecycle.registry import RegistryReader
from agentloop.lifecycle.signing import Signer
from agentloop.validation.candidate import Candidate
from agentloop.validation.data_drift import RecentTraffic, data_drift_checks
from agentloop.validation.decision import REQUIRED, make_deployment_decision
from agentloop.validation.fairness import fairness_checks
from agentloop.validation.http_replica import LoadSample, infer_body, measure_load
from agentloop.validation.integration import integration_checks, unstaged_checks
from agentloop.validation.onnx_candidate import open_candidate
from agentloop.validation.performance import champion_check, load_checks, quality_check
from agentloop.validation.report_files import write_report
from agentloop.validation.robustness import robustness_checks
from agentloop.validation.suites import SUITES, suite_result, unmeasured
from agentloop.validation.svg_plots import (
    calibration_plot,
    confusion_plot,
    interval_plot,
    scatter_plot,
)

CHAMPION = "champion"
LOAD_ROWS = 50

Stager = Callable[[ModelVersion], Awaitable[StagedModel]]


@dataclass(frozen=True, slots=True)
class _Subject:
    version: ModelVersion
    bundle: ModelBundle
    candidate: Candidate
    answers: npt.NDArray[Any]

    def rng(self, suite: SuiteName) -> np.random.Generator:
        """The same bundle is always judged with the same random numbers."""
        return np.random.default_rng([int(self.bundle.digest[:8], 16), SUITES.index(suite)])


class ModelValidationPipeline:
    """Judges a registered version.

    ``registry`` names the champion; ``signer`` signs the report; ``stage`` starts the version at
    weight 0 and gives its private URL (without it integration and latency are not measured, and a
    suite in ``required`` that is not measured approves nobody); ``reports`` is the folder that the
    reports go to; ``recent_traffic`` what live traffic looked like. Nothing runs before
    ``validate_model``.
    """

    def __init__(
        self,
        spec: GateSpec,
        *,
        registry: RegistryReader,
        signer: Signer,
        stage: Stager | None,
        reports: Path,
        now: Callable[[], datetime],
        recent_traffic: RecentTraffic | None = None,
        required: tuple[SuiteName, ...] = REQUIRED,
    ) -> None:
        self._spec = spec
        self._registry = registry
        self._signer = signer
        self._stage = stage
        self._reports = reports
        self._now = now
        self._recent_traffic = recent_traffic
        self._required = required

    async def validate_model(self, model_version: ModelVersion) -> ValidationReport:
        """Run every suite, decide, and write the signed report, approved or not.

        While the replica is being staged the suites that need none already run. Raises
        ArtifactUnverified for a bundle that is not what was registered, and what ``stage`` raises.
        """
        subject = await asyncio.to_thread(_open, model_version)
        local = asyncio.to_thread(self._local_suites, subject)
        if self._stage is None:
            results, staged = await local, None
        else:
            results, staged = await asyncio.gather(local, self._stage(model_version))
        results |= await asyncio.to_thread(self._staged_suites, subject, staged)
        report = self._report(subject, results)
        plots = _plots(subject, report)
        write_report(self._reports, report, self._signer.sign(report), plots)
        return report

    def _report(self, subject: _Subject, results: dict[str, SuiteResult]) -> ValidationReport:
        ordered: dict[str, SuiteResult] = {name: results[name] for name in SUITES}
        decision = make_deployment_decision(ordered, self._required)
        return ValidationReport(
            model_version=subject.version,
            test_results=ordered,
            deployment_approved=decision.approved,
            recommendations=decision.recommendations,
            reasons=decision.reasons,
            model_digest=subject.bundle.digest,
            created_at=self._now().isoformat(),
        )

    def _local_suites(self, subject: _Subject) -> dict[str, SuiteResult]:
        candidate, answers, spec = subject.candidate, subject.answers, self._spec
        robust = robustness_checks(candidate, answers, spec, subject.rng("robustness"))
        fair = fairness_checks(candidate, answers, spec, subject.rng("fairness"))
        drift = data_drift_checks(
            candidate, subject.bundle.reference, self._recent_traffic, subject.rng("data_drift")
        )
        return {
            "robustness": _timed("robustness", robust),
            "fairness": _timed("fairness", fair),
            "data_drift": _timed("data_drift", drift),
        }

    def _staged_suites(
        self, subject: _Subject, staged: StagedModel | None
    ) -> dict[str, SuiteResult]:
        """Performance and integration: after the others, so that nothing slows the replica."""
        version = subject.version.version
        checks = (
            unstaged_checks()
            if staged is None
            else integration_checks(subject.candidate, version, staged.url)
        )
        integration = _timed("integration", checks)
        return {
            "integration": integration,
            "performance": _timed("performance", self._performance(subject, staged)),
        }

    def _performance(self, subject: _Subject, staged: StagedModel | None) -> Iterable[Check]:
        rng = subject.rng("performance")
        yield quality_check(subject.candidate, subject.answers, self._spec, rng)
        yield self._champion(subject, rng)
        yield from load_checks(_load(subject, staged) if staged else None, self._spec)

    def _champion(self, subject: _Subject, rng: np.random.Generator) -> Check:
        version, candidate = subject.version, subject.candidate
        name, limit = "champion_difference", -self._spec.max_regression
        champion = self._registry.alias(version.model, CHAMPION)
        if champion is None or champion.version == version.version:
            return unmeasured(name, "there is no other champion to compare with", limit)
        try:
            bundle, theirs = open_candidate(champion)
            answers = theirs.answers(bundle.features.transform(candidate.columns))
        except ArtifactUnverified as error:
            return unmeasured(name, f"the champion cannot be run: {error.reason}", limit)
        except (KeyError, ValueError) as error:
            reason = f"the champion {champion.version} does not fit these rows ({error!r})"
            return unmeasured(name, reason, limit)
        if theirs.regression != candidate.regression:
            return unmeasured(name, "the champion answers another kind of question", limit)
        return champion_check(
            candidate, subject.answers, answers, champion.version, self._spec, rng
        )


def _open(version: ModelVersion) -> _Subject:
    bundle, candidate = open_candidate(version)
    return _Subject(version, bundle, candidate, candidate.answers(candidate.matrix))


def _timed(suite: SuiteName, checks: Iterable[Check]) -> SuiteResult:
    started = time.perf_counter()
    done = tuple(checks)
    return suite_result(suite, done, time.perf_counter() - started)


def _load(subject: _Subject, staged: StagedModel) -> LoadSample:
    candidate = subject.candidate
    bodies = [
        infer_body(candidate.signature, candidate.columns, slice(i, i + 1))
        for i in range(min(LOAD_ROWS, candidate.rows))
    ]
    return measure_load(staged.url, f"/v2/models/{candidate.signature.model}/infer", bodies)


def _plots(subject: _Subject, report: ValidationReport) -> dict[str, str]:
    candidate, answers = subject.candidate, subject.answers
    checks = [check for suite in report.test_results.values() for check in suite.checks]
    plots = {"Intervals": interval_plot(checks)}
    if candidate.regression:
        return {"Answers": scatter_plot(candidate.truth, answers), **plots}
    scores = candidate.score(candidate.matrix).astype(np.float64)
    return {
        "Confusion": confusion_plot(candidate.truth, answers, candidate.signature.classes),
        "Calibration": calibration_plot(scores.max(axis=1), answers == candidate.truth),
        **plots,
    }
