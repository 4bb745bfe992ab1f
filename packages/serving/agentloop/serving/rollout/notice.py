"""Tell people how a rollout ended badly: an event in the store, and an alert where one is wanted.

The alert is what Alertmanager's API takes (``POST /api/v2/alerts``), with the labels by which the
monitoring rules of this project are routed. A receiver that is down changes nothing for traffic.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any, Literal
from urllib.parse import urlsplit

from agentloop.serving.rollout.log import RolloutLog

POST_SECONDS = 2.0
RUNBOOK = "docs/runbooks/rollback.md"


@dataclass(frozen=True, slots=True)
class Notice:
    """``stable`` has the traffic, ``version`` lost it. ``trouble`` says why stable does not answer
    as it should; empty when it does."""

    at: float
    model: str
    version: str
    stable: str
    status: Literal["rolled_back", "held", "aborted", "failed"]
    reasons: tuple[str, ...]
    trouble: str = ""

    @property
    def severity(self) -> str:
        """``critical`` pages somebody: traffic is back, and nothing sound takes it."""
        return "critical" if self.trouble else "warning"

    @property
    def summary(self) -> str:
        said = {
            "rolled_back": "was rolled back",
            "held": "was held for want of evidence",
            "aborted": "was aborted",
            "failed": "failed to start",
        }[self.status]
        health = f"{self.stable} does not answer: {self.trouble}" if self.trouble else "it answers"
        where = f"all traffic is on {self.stable}; {health}" if self.stable else "nothing is served"
        return f"{self.model} {self.version} {said}; {where}"

    def as_alert(self) -> dict[str, Any]:
        """One element of Alertmanager's list."""
        return {
            "labels": {
                "alertname": "Rollout" + self.status.title().replace("_", ""),
                "severity": self.severity,
                "model": self.model,
                "model_version": self.version,
            },
            "annotations": {
                "summary": self.summary,
                "description": "; ".join(self.reasons),
                "runbook_url": RUNBOOK,
            },
            "startsAt": datetime.fromtimestamp(self.at, UTC).isoformat(),
        }


Announce = Callable[[Notice], None]
"""Raises OSError when nobody could be told."""


class AlertmanagerNotices:
    """Posts notices to the Alertmanager at ``url``. What is wrong with the URL is told when there
    is a notice to give: a rollback must not fail on it."""

    def __init__(self, url: str, timeout: float = POST_SECONDS) -> None:
        self._url = url.rstrip("/") + "/api/v2/alerts"
        self._timeout = timeout

    def __call__(self, notice: Notice) -> None:
        if urlsplit(self._url).scheme not in ("http", "https"):
            raise OSError(f"{self._url} is not an http or https URL")
        request = urllib.request.Request(
            self._url,
            json.dumps([notice.as_alert()]).encode(),
            {"content-type": "application/json"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=self._timeout):
            pass


def give_notice(log: RolloutLog, announce: Announce | None, notice: Notice) -> str:
    """Announce it and write it down; a line that says so."""
    told = _told_to(announce, notice)
    log.record(
        "done",
        "notice",
        summary=notice.summary,
        severity=notice.severity,
        trouble=notice.trouble,
        told=told,
    )
    return f"{notice.summary} (told: {told})"


def _told_to(announce: Announce | None, notice: Notice) -> str:
    if announce is None:
        return "nobody: no Alertmanager is set"
    try:
        announce(notice)
    except (OSError, ValueError, HTTPException) as error:
        return f"nobody: {error}"
    return "Alertmanager"
