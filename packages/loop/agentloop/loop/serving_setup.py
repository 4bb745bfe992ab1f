"""Puts serving together for a state folder: store, plane, observer, trusted key, who is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from agentloop.contracts import LoopSpec
from agentloop.lifecycle import Registry, open_signer
from agentloop.loop.home import StateFolder
from agentloop.monitoring import ObserverFactory
from agentloop.serving import AlertmanagerNotices, Announce, BlueGreenDeployment, RolloutEvent

ALERTMANAGER = "AGENTLOOP_ALERTMANAGER_URL"


def open_deployment(
    spec: LoopSpec,
    home: StateFolder,
    registry: Registry,
    environment: Mapping[str, str] = os.environ,
    listen: Callable[[RolloutEvent], None] | None = None,
) -> BlueGreenDeployment:
    """The deployment of ``spec`` on the connected cluster; ``listen`` hears each rollout event."""
    return BlueGreenDeployment(
        spec,
        home=home.root,
        registry=registry,
        trusted_key=open_signer(home.keys).public_key,
        observer_factory=ObserverFactory(flush_seconds=spec.monitoring.flush_seconds),
        announce=announcer(environment),
        listen=listen,
    )


def announcer(environment: Mapping[str, str]) -> Announce | None:
    """Where notices go: the Alertmanager that the environment names, if it names one."""
    url = environment.get(ALERTMANAGER, "")
    return AlertmanagerNotices(url) if url else None
