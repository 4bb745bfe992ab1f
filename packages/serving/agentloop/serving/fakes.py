"""A serving plane without Ray or HAProxy, for tests and dry runs.

Requests are dealt to versions by the weights that the control store holds, smoothly as HAProxy
deals them; a version fails the share of its requests that ``error_rates`` says, and a failed
request is rescued on another version that has weight.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from agentloop.contracts.traffic import (
    ShadowCounts,
    TrafficSplit,
    VersionEvidence,
    VersionTraffic,
)
from agentloop.serving.control.store import ControlStore, StagedVersion
from agentloop.serving.edge.plan import scale_weights
from agentloop.serving.ports import HttpAnswer, Replay

Key = tuple[str, str]


class MemoryPlane:
    """A ServingPlane over ``store``. ``broken`` versions never become ready; of its shadowed
    answers a version disagrees with the stable one on the share that ``disagreements`` says."""

    url = inside_url = "http://127.0.0.1:8700"

    def __init__(
        self,
        store: ControlStore,
        error_rates: Mapping[str, float] | None = None,
        broken: Sequence[str] = (),
        disagreements: Mapping[str, float] | None = None,
    ) -> None:
        self._store = store
        self._error_rates = dict(error_rates or {})
        self._broken = frozenset(broken)
        self._disagreements = dict(disagreements or {})
        self.running: dict[Key, StagedVersion] = {}
        self.provisioned: list[str] = []
        self._weights: dict[Key, int] = {}
        self._requests: dict[Key, int] = {}
        self._errors: dict[Key, int] = {}
        self._credit: dict[Key, float] = {}
        self._debt: dict[Key, float] = {}
        self._splits: dict[str, TrafficSplit] = {}
        self._copied: dict[Key, float] = {}
        self._shadows: dict[Key, ShadowCounts] = {}

    def provision(self, staged: StagedVersion) -> None:
        key = (staged.model, staged.version)
        if key not in self.running:
            self.running[key] = staged
            self.provisioned.append(staged.version)

    def failure(self, staged: StagedVersion) -> str | None:
        return "its replicas crashed" if staged.version in self._broken else None

    def retire(self, staged: StagedVersion) -> None:
        self.running.pop((staged.model, staged.version), None)

    def reconcile(self) -> None:
        self._splits = {split.model: split for split in self._store.splits()}
        self._weights = {
            (split.model, version): weight
            for split in self._splits.values()
            for version, weight in scale_weights(split.weights).items()
        }

    def traffic(self, model: str) -> Sequence[VersionTraffic]:
        staged = [s for s in self._store.staged() if s.model == model]
        total = sum(weight for (name, _), weight in self._weights.items() if name == model)
        return [
            VersionTraffic(
                item.version,
                100.0 * self._weights.get(key, 0) / total if total else 0.0,
                self._requests.get(key, 0),
                self._errors.get(key, 0),
                ready=self._is_up(key),
                evidence=self._evidence(model, item.version),
            )
            for item in staged
            for key in ((model, item.version),)
        ]

    def call(self, path: str, body: bytes | None = None) -> HttpAnswer:
        model, version = self._target(path)
        if not self._is_up((model, version)):
            return HttpAnswer(503, {}, b'{"error":"no replica of this model is ready"}')
        headers = {"x-model-version": version}
        if body is not None:
            try:
                json.loads(body)
            except ValueError:
                return HttpAnswer(400, headers, b'{"error":"the body is not valid JSON"}')
        answer = {"name": model, "outputs": [{"name": "label", "data": ["a"]}]}
        return HttpAnswer(200, headers, json.dumps(answer).encode())

    def replay(self, path: str, bodies: Sequence[bytes], count: int) -> Replay:
        model = path.split("/")[3]
        return Replay(count, count - self.send(model, count))

    def send(self, model: str, count: int, sessions: bool = False) -> int:
        """``count`` requests of clients, each of a session of its own if ``sessions``; how many
        were answered."""
        return sum(self._deal(model, sessions) for _ in range(count))

    def _deal(self, model: str, session: bool) -> bool:
        """One request by smooth weighted turns; whether the client saw an answer."""
        split = self._splits.get(model)
        weights = {k: w for k, w in self._weights.items() if k[0] == model and w > 0}
        if split is not None and split.by_session and not session:
            weights = {k: w for k, w in weights.items() if k[1] == split.stable}
        if split is None or not weights:
            return False
        for key, weight in weights.items():
            self._credit[key] = self._credit.get(key, 0.0) + weight
        chosen = max(weights, key=lambda key: self._credit[key])
        self._credit[chosen] -= sum(weights.values())
        if split.shadow is not None and chosen[1] == split.stable:
            self._copy((model, split.shadow), split.shadow_percent / 100.0)
        return self._answer(chosen) or any(self._answer(k) for k in weights if k != chosen)

    def _copy(self, key: Key, share: float) -> None:
        """Send the shadow its share of the copies, and compare what it answers."""
        self._copied[key] = self._copied.get(key, 0.0) + share
        if self._copied[key] < 1:
            return
        self._copied[key] -= 1
        known, failed = self._shadows.get(key, ShadowCounts()), not self._answer(key)
        disagreed = 0.0 if failed else self._disagreements.get(key[1], 0.0)
        self._shadows[key] = ShadowCounts(
            known.compared + (not failed), known.disagreed + disagreed, known.failed + failed
        )

    def _evidence(self, model: str, version: str) -> VersionEvidence:
        """The stable version's replicas compare the copies' answers, so they count them."""
        split = self._splits.get(model)
        if split is None or split.stable != version:
            return VersionEvidence()
        return VersionEvidence(shadows={k[1]: n for k, n in self._shadows.items() if k[0] == model})

    def _answer(self, key: Key) -> bool:
        self._requests[key] = self._requests.get(key, 0) + 1
        self._debt[key] = self._debt.get(key, 0.0) + self._error_rates.get(key[1], 0.0)
        if self._debt[key] < 1:
            return True
        self._debt[key] -= 1
        self._errors[key] = self._errors.get(key, 0) + 1
        return False

    def _target(self, path: str) -> Key:
        parts = path.split("/")
        if parts[1] == "_versions":
            return parts[2], parts[3]
        split = self._store.split(parts[3])
        return parts[3], split.stable if split else ""

    def _is_up(self, key: Key) -> bool:
        return key in self.running and key[1] not in self._broken
