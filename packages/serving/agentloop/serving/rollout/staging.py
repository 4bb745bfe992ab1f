"""Run versions at weight 0: start their replicas, wait for them, know which are approved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agentloop.contracts.errors import ArtifactUnverified, DeploymentError
from agentloop.contracts.models import ModelVersion
from agentloop.contracts.traffic import StagedModel
from agentloop.lifecycle.bundle import open_bundle
from agentloop.lifecycle.signing import verify_report
from agentloop.serving.control.store import Bake, ControlStore, StagedVersion
from agentloop.serving.naming import private_path
from agentloop.serving.ports import ReportLoader, ServingPlane
from agentloop.serving.rollout.arrow_holdout import probe_bodies

READY_SECONDS = 90.0
POLL_SECONDS = 0.05
FAILURE_POLL_SECONDS = 1.0


class Staging:
    """Staged versions, by way of the control store. ``load_report`` may raise OSError."""

    def __init__(
        self,
        store: ControlStore,
        plane: ServingPlane,
        load_report: ReportLoader,
        trusted_key: str,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._plane = plane
        self._load_report = load_report
        self._trusted_key = trusted_key
        self._clock = clock

    async def deploy(
        self, mv: ModelVersion, started: Callable[[], None] = lambda: None
    ) -> StagedModel:
        """Replicas at weight 0, ready; what runs already is kept. ``started`` is called once they
        are asked for. Raises ArtifactUnverified, DeploymentError."""
        path = bundle_path(mv)
        await asyncio.to_thread(open_bundle, path, mv.digest)
        known = self.find(mv.model, mv.version)
        approved = known is not None and known.approved
        staged = StagedVersion(mv.model, mv.version, str(path), mv.digest, approved)
        self._store.remove_bake(mv.model, mv.version)
        self._store.put_staged(staged)
        await asyncio.to_thread(self._plane.provision, staged)
        await asyncio.to_thread(self._plane.reconcile)
        started()
        await self._until_ready(staged)
        url = self._plane.inside_url + private_path(mv.model, mv.version)
        return StagedModel(mv.model, mv.version, url)

    async def restore(self) -> tuple[str, ...]:
        """Start again all that should run, after a fresh cluster came up; the versions."""
        wanted = [staged for staged in self._store.staged() if not staged.retiring]
        for staged in wanted:
            await asyncio.to_thread(self._plane.provision, staged)
        await asyncio.to_thread(self._plane.reconcile)
        for staged in wanted:
            await self._until_ready(staged)
        return tuple(staged.version for staged in wanted)

    def verify(self, mv: ModelVersion) -> None:
        """Raises ArtifactUnverified unless a trusted, signed report approves this version."""
        try:
            signed = self._load_report(mv)
        except OSError:
            name = f"report on {mv.model} {mv.version}"
            raise ArtifactUnverified(name, "there is no signed report") from None
        verify_report(signed, self._trusted_key, mv.digest)

    def approve(self, mv: ModelVersion) -> None:
        """``verify``, and remember it with the staged version."""
        self.verify(mv)
        known = self.find(mv.model, mv.version)
        staged = known or StagedVersion(mv.model, mv.version, str(bundle_path(mv)), mv.digest)
        self._store.put_staged(replace(staged, approved=True, retiring=False))

    def require_approved(self, model: str, version: str) -> None:
        """Raises ArtifactUnverified for a version whose report was not verified."""
        found = self.find(model, version)
        if found is None or not found.approved:
            raise ArtifactUnverified(
                f"report on {model} {version}", "no signed report was verified"
            )

    def find(self, model: str, version: str) -> StagedVersion | None:
        """The staged version, if it is not on its way out."""
        for staged in self._store.staged():
            if (staged.model, staged.version) == (model, version):
                return None if staged.retiring else staged
        return None

    def retire(self, model: str, version: str) -> None:
        """Let the edge's keeper stop the version's replicas, unless it has traffic."""
        self._store.put_bake(Bake(model, version, self._clock()))

    def is_ready(self, model: str, version: str) -> bool:
        path = f"{private_path(model, version)}/v2/health/ready"
        return self._plane.call(path, None).status == 200

    def bodies(self, model: str, version: str) -> list[bytes]:
        """Requests made of the version's held-out rows."""
        staged = self.find(model, version)
        if staged is None:
            raise DeploymentError(model, version, "it is not staged")
        return probe_bodies(open_bundle(Path(staged.bundle_path), staged.digest))

    async def _until_ready(self, staged: StagedVersion) -> None:
        model, version = staged.model, staged.version
        start = asked = self._clock()
        while not await asyncio.to_thread(self.is_ready, model, version):
            now = self._clock()
            if now - asked >= FAILURE_POLL_SECONDS:
                asked = now
                reason = await asyncio.to_thread(self._plane.failure, staged)
                if reason is not None:
                    raise DeploymentError(model, version, reason)
            if now - start > READY_SECONDS:
                reason = f"no replica was ready within {READY_SECONDS:.0f} s"
                raise DeploymentError(model, version, reason)
            await asyncio.sleep(POLL_SECONDS)


def bundle_path(mv: ModelVersion) -> Path:
    """The bundle's folder; ``artifact_uri`` is a path or a ``file://`` URI."""
    return Path(mv.artifact_uri.removeprefix("file://"))
