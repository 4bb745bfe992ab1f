"""Puts serving together for a state folder: store, plane, observer, trusted key."""

from __future__ import annotations

from agentloop.contracts import LoopSpec
from agentloop.lifecycle import Registry, open_signer
from agentloop.loop.home import StateFolder
from agentloop.monitoring import ObserverFactory
from agentloop.serving import BlueGreenDeployment


def open_deployment(spec: LoopSpec, home: StateFolder, registry: Registry) -> BlueGreenDeployment:
    """The deployment of ``spec`` on the connected cluster."""
    return BlueGreenDeployment(
        spec,
        home=home.root,
        registry=registry,
        trusted_key=open_signer(home.keys).public_key,
        observer_factory=ObserverFactory(flush_seconds=spec.monitoring.flush_seconds),
    )
