"""A model version's life: its stages, its number, its registry, its sealed bundle."""

from agentloop.lifecycle.bundle import (
    InputColumn,
    ModelBundle,
    Signature,
    open_bundle,
    seal_bundle,
    write_noun,
)
from agentloop.lifecycle.features import (
    CategoricalFeature,
    FeaturePipeline,
    NumericFeature,
    TextFeature,
    fit_features,
)
from agentloop.lifecycle.reference import ColumnReference, ReferenceProfile, build_reference
from agentloop.lifecycle.registry import MemoryRegistry, Registry, RegistryReader, advance
from agentloop.lifecycle.signing import Signer, open_signer, verify_report
from agentloop.lifecycle.transitions import INITIAL_STAGE, TRANSITIONS, Trigger, next_stage
from agentloop.lifecycle.versioning import (
    FIRST_BASE,
    ModelVersioning,
    SemanticVersion,
    parse_version,
)

__all__ = [
    "FIRST_BASE",
    "INITIAL_STAGE",
    "TRANSITIONS",
    "CategoricalFeature",
    "ColumnReference",
    "FeaturePipeline",
    "InputColumn",
    "MemoryRegistry",
    "ModelBundle",
    "ModelVersioning",
    "NumericFeature",
    "ReferenceProfile",
    "Registry",
    "RegistryReader",
    "SemanticVersion",
    "Signature",
    "Signer",
    "TextFeature",
    "Trigger",
    "advance",
    "build_reference",
    "fit_features",
    "next_stage",
    "open_bundle",
    "open_signer",
    "parse_version",
    "seal_bundle",
    "verify_report",
    "write_noun",
]
