"""The error tree. Every error says what happened, what was kept, and what to do next.

    AgentLoopError
    ├── SpecError            10 unknown or missing key, 11 wrong type or value, 12 unknown family,
    │                        13 not YAML, 14 no such file
    ├── DataError            20
    │   ├── SourceNotFound   21
    │   ├── EmptySource      22
    │   ├── TargetMissing    23
    │   ├── SourceUnreadable 24
    │   ├── SchemaMismatch   25
    │   ├── DataQualityError 26
    │   ├── VersioningFailed 27
    │   ├── DataVersionNotFound 28
    │   ├── RemoteForbidden  29
    │   ├── QueryRefused     19
    │   └── NothingNew       18
    ├── TrainingError        30
    │   ├── TrainingDiverged 31
    │   └── TrackingFailed   32
    ├── LifecycleError       40
    │   ├── IllegalTransition 41
    │   ├── InvalidVersion   42
    │   ├── VersionNotFound  43
    │   ├── ArtifactUnverified 44
    │   └── ModelNotReproduced 45
    ├── GateRejected         50
    ├── ServingError         60
    │   ├── DeploymentError  61
    │   ├── RolloutConflict  62
    │   ├── StaleEpoch       63
    │   ├── ModelNotServed   64
    │   ├── RequestRejected  65
    │   ├── RolloutOvertaken 66
    │   ├── NoRollout        67
    │   ├── PlanOutdated     68
    │   ├── EdgeExposed      69
    │   ├── CertificateUnusable 74
    │   ├── ApiKeyRefused    75
    │   ├── ModelUnreachable 76
    │   ├── AccessDenied     77
    │   └── ServerBusy       85
    ├── ClusterError         70
    │   ├── PortInUse        71
    │   ├── StaleCluster     72
    │   └── ForeignCluster   73
    ├── StateError           80
    │   ├── StateLocked      81
    │   ├── DiskFull         82
    │   ├── StateUnwritable  83
    │   └── StateUnreachable 84
    └── MonitoringError      90

The number is the exit code of the command line. Errors survive pickling, because Ray moves them
between processes; they are data, so they read no clock, environment or file.
"""

from agentloop.contracts.client_errors import (
    AccessDenied,
    ModelUnreachable,
    ServerBusy,
)
from agentloop.contracts.data_errors import (
    DataError,
    DataQualityError,
    DataVersionNotFound,
    EmptySource,
    NothingNew,
    QueryRefused,
    RemoteForbidden,
    SchemaMismatch,
    SourceNotFound,
    SourceUnreadable,
    TargetMissing,
    VersioningFailed,
)
from agentloop.contracts.edge_errors import (
    ApiKeyRefused,
    CertificateUnusable,
    EdgeExposed,
)
from agentloop.contracts.error_base import (
    AgentLoopError,
)
from agentloop.contracts.model_errors import (
    ArtifactUnverified,
    GateRejected,
    IllegalTransition,
    InvalidVersion,
    LifecycleError,
    ModelNotReproduced,
    TrackingFailed,
    TrainingDiverged,
    TrainingError,
    VersionNotFound,
)
from agentloop.contracts.platform_errors import (
    ClusterError,
    DiskFull,
    ForeignCluster,
    MonitoringError,
    PortInUse,
    StaleCluster,
    StateError,
    StateLocked,
    StateUnreachable,
    StateUnwritable,
)
from agentloop.contracts.serving_errors import (
    DeploymentError,
    ModelNotServed,
    NoRollout,
    PlanOutdated,
    RequestRejected,
    RolloutConflict,
    RolloutOvertaken,
    ServingError,
    StaleEpoch,
)
from agentloop.contracts.spec_errors import (
    SpecError,
    SpecIssue,
)

__all__ = [
    "AccessDenied",
    "AgentLoopError",
    "ApiKeyRefused",
    "ArtifactUnverified",
    "CertificateUnusable",
    "ClusterError",
    "DataError",
    "DataQualityError",
    "DataVersionNotFound",
    "DeploymentError",
    "DiskFull",
    "EdgeExposed",
    "EmptySource",
    "ForeignCluster",
    "GateRejected",
    "IllegalTransition",
    "InvalidVersion",
    "LifecycleError",
    "ModelNotReproduced",
    "ModelNotServed",
    "ModelUnreachable",
    "MonitoringError",
    "NoRollout",
    "NothingNew",
    "PlanOutdated",
    "PortInUse",
    "QueryRefused",
    "RemoteForbidden",
    "RequestRejected",
    "RolloutConflict",
    "RolloutOvertaken",
    "SchemaMismatch",
    "ServerBusy",
    "ServingError",
    "SourceNotFound",
    "SourceUnreadable",
    "SpecError",
    "SpecIssue",
    "StaleCluster",
    "StaleEpoch",
    "StateError",
    "StateLocked",
    "StateUnreachable",
    "StateUnwritable",
    "TargetMissing",
    "TrackingFailed",
    "TrainingDiverged",
    "TrainingError",
    "VersionNotFound",
    "VersioningFailed",
]
