"""Which module fits which family; each is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module

from agentloop.training.fits import Family

_NETWORKS = "agentloop.training.torch_family"
_MODULES = {
    "gradient-boosting": "agentloop.training.sklearn_boosting",
    "extra-trees": "agentloop.training.sklearn_forest",
}


def family_of(name: str) -> Family:
    """The family of that name; a ``module:callable`` is a network of the user's."""
    family: Family = import_module(_MODULES.get(name, _NETWORKS)).FAMILY
    return family


def is_network(name: str) -> bool:
    """Whether torch fits it, so that Ray Train's workers can share the work."""
    return name not in _MODULES
