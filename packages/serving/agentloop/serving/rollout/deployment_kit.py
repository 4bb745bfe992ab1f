"""What the parts of a deployment share: ports, clock, and the objects built on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agentloop.contracts.spec import RolloutSpec
from agentloop.contracts.traffic import StagedModel
from agentloop.lifecycle.registry import Registry
from agentloop.serving.control.store import ControlStore, Rollout
from agentloop.serving.judging.decision import Evidence, Judgement
from agentloop.serving.ports import ServingPlane
from agentloop.serving.rollout.canary import Canary
from agentloop.serving.rollout.canary_watch import CanaryWatch
from agentloop.serving.rollout.end import RolloutEnd
from agentloop.serving.rollout.health_check import check_health
from agentloop.serving.rollout.lease_keeper import LEASE_SECONDS, LeaseKeeper
from agentloop.serving.rollout.notice import Announce, Notice, give_notice
from agentloop.serving.rollout.orders import Wish
from agentloop.serving.rollout.split_writer import SplitWriter
from agentloop.serving.rollout.staging import Staging


@dataclass(frozen=True, slots=True)
class DeploymentKit:
    """One deployment's collaborators. ``announce`` is None where nobody is to be told."""

    store: ControlStore
    plane: ServingPlane
    staging: Staging
    registry: Registry
    end: RolloutEnd
    clock: Callable[[], float]
    new_id: Callable[[], str]
    announce: Announce | None = None

    def canary(
        self,
        green: StagedModel,
        bodies: Sequence[bytes],
        writer: SplitWriter,
        settings: RolloutSpec,
        wish: Callable[[], Wish] = lambda: "go",
        moved: Callable[[], None] = lambda: None,
        judged: Callable[[Judgement], None] = lambda judgement: None,
        past: Sequence[Evidence] = (),
    ) -> Canary:
        """The hand and eye of one version's traffic; ``past`` is evidence from before a restart."""
        watch = CanaryWatch(green, self.plane, bodies, settings, past=past)
        return Canary(green, writer, watch, settings, self.clock, wish, moved, judged)

    def lease(self, writer: SplitWriter) -> LeaseKeeper:
        """Keeps the lease of a share that no rollout stands behind."""

        def renew(moving: bool) -> None:
            writer.renew(self.clock() + LEASE_SECONDS)

        return LeaseKeeper(renew, self.clock)

    def health(self, model: str, version: str) -> str:
        """What is wrong with the version that has the traffic now; empty for nothing."""
        try:
            bodies: Sequence[bytes] = self.staging.bodies(model, version)
        except Exception as error:  # its bundle is gone, but its replicas may answer
            return check_health(self.plane.call, model, version, ()) or f"no row to ask: {error}"
        return check_health(self.plane.call, model, version, bodies)

    def notify(self, rollout: Rollout, notice: Notice) -> str:
        """Log the notice and send it; how that went, for the command line."""
        return give_notice(self.end.log(rollout), self.announce, notice)
