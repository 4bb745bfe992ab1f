"""What training asks of the Ray cluster it is lent."""

from __future__ import annotations

from agentloop.contracts.errors import ClusterError

# Serving replicas live on the same machine: a worker that asked for a whole CPU could wait forever.
CPUS_PER_WORKER = 0.5


def require_ray() -> None:
    """Raises ClusterError where Ray would otherwise start a cluster of its own."""
    import ray

    if not ray.is_initialized():
        raise ClusterError("this process is not connected to one")


def cluster_gpus() -> float:
    """GPUs of the cluster this process is connected to."""
    import ray

    return float(ray.cluster_resources().get("GPU", 0.0)) if ray.is_initialized() else 0.0
