"""loop.yaml as pydantic models: the border where text becomes a checked spec.

Unknown keys are refused. ``agentloop.contracts.spec_file.load_spec`` reads a file into a
``LoopSpec`` and turns pydantic's errors into ``SpecError`` with line numbers.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from agentloop.contracts.spec_base import (
    Strict,
    matching,
    refusal,
    shown,
    switch_or_auto,
    unknown_name,
    whole_number_or_auto,
)
from agentloop.contracts.spec_data import (
    CALLABLE_PATTERN,
    CallableSource,
    ChecksSpec,
    ColumnSpec,
    CsvSource,
    DataSourceConfig,
    FileSource,
    IdxSource,
    JsonlSource,
    ParquetSource,
    RemoteSpec,
    RuleSpec,
    SourceSpec,
    SplitSpec,
    SqlSource,
    Windowed,
)
from agentloop.contracts.spec_families import AUTO, FAMILIES, ParametersSpec, defaults_of
from agentloop.contracts.spec_search import (
    ChoiceSpec,
    RangeSpec,
    SearchSpec,
    misfit,
)
from agentloop.contracts.spec_serving import (
    AutoscaleSpec,
    BatchSpec,
    RolloutSpec,
    ServingSpec,
    TlsSpec,
)
from agentloop.contracts.spec_steps import StepSpec

__all__ = [
    "AUTO",
    "FAMILIES",
    "NAME_PATTERN",
    "AutoscaleSpec",
    "BatchSpec",
    "BusinessValueSpec",
    "CallableSource",
    "ChecksSpec",
    "ChoiceSpec",
    "ColumnSpec",
    "CsvSource",
    "DataSourceConfig",
    "FeaturesSpec",
    "FileSource",
    "GateSpec",
    "IdxSource",
    "JsonlSource",
    "LoopSpec",
    "ModelSpec",
    "MonitoringSpec",
    "ParametersSpec",
    "ParquetSource",
    "RangeSpec",
    "RemoteSpec",
    "RolloutSpec",
    "RuleSpec",
    "SearchSpec",
    "ServingSpec",
    "SourceSpec",
    "SplitSpec",
    "SqlSource",
    "StepSpec",
    "TlsSpec",
    "Windowed",
]

NAME_PATTERN = "[a-z][a-z0-9-]{0,62}"

ModelName = Annotated[
    str,
    AfterValidator(
        matching(
            NAME_PATTERN,
            "must be up to 63 lower-case letters, digits and dashes, with a letter first",
        )
    ),
]


# --- model ---------------------------------------------------------------------------------------


class FeaturesSpec(Strict):
    """How columns become numbers. ``text`` names the text columns that are read (``auto``: those
    of three words and more a value, on average) by up to ``terms`` words and runs of ``ngrams``
    words, weighted by rarity (``tfidf``) or counted in hashed slots (``hash``)."""

    text: tuple[str, ...] | Literal["auto"] = "auto"
    encoding: Literal["tfidf", "hash"] = "tfidf"
    terms: int = Field(default=2000, ge=1, le=20_000)
    ngrams: int = Field(default=2, ge=1, le=3)


class ModelSpec(Strict):
    """The ``model`` section. ``family`` is a built-in name, ``auto`` (a search over all that suit
    the data), or ``module:callable``, which takes ``(inputs: int, outputs: int, parameters: dict)``
    and returns a ``torch.nn.Module``.

    ``num_workers: auto`` trains in the calling process when the data fits one comfortably.
    ``precision: auto`` is bfloat16 where a GPU computes, else float32. A worker that dies is
    replaced up to ``max_failures`` times, and goes on from the last checkpoint.
    """

    family: str = "mlp"
    parameters: ParametersSpec = ParametersSpec()
    features: FeaturesSpec = FeaturesSpec()
    search: SearchSpec = SearchSpec()
    num_workers: Annotated[int | Literal["auto"], BeforeValidator(whole_number_or_auto)] = "auto"
    use_gpu: Annotated[bool | Literal["auto"], BeforeValidator(switch_or_auto)] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_failures: int = Field(default=1, ge=0)
    seed: int = Field(default=0, ge=0)
    change: Literal["architecture", "improvement", "bugfix"] = "improvement"

    @field_validator("family")
    @classmethod
    def _family_is_known(cls, family: str) -> str:
        if family in (*FAMILIES, AUTO) or re.fullmatch(CALLABLE_PATTERN, family):
            return family
        raise unknown_name("model family", family, (*FAMILIES, AUTO), "family")

    @model_validator(mode="after")
    def _family_has_the_parameters(self) -> ModelSpec:
        if self.family == AUTO and self.search.trials < 1:
            raise refusal("must be 1 or more: family auto is a search", below=["search", "trials"])
        known = () if self.family == AUTO else tuple(defaults_of(self.family))
        for section, names in (
            (["parameters"], self.parameters.model_dump(exclude_none=True)),
            (["search", "space"], self.search.space),
        ):
            for name in names:
                if name not in known:
                    has = f"it has {', '.join(known)}" if known else "it searches all of them"
                    reason = f"is no parameter of family {shown(self.family)}: {has}"
                    raise refusal(reason, below=[*section, name])
        return self

    @model_validator(mode="after")
    def _search_stays_within_what_parameters_may_be(self) -> ModelSpec:
        for name, searched in self.search.space.items():
            reason = misfit(name, searched)
            if reason:
                raise refusal(reason, below=["search", "space", name])
        return self


# --- the gate, serving, monitoring ---------------------------------------------------------------


class GateSpec(Strict):
    """The ``validation`` section: limits a model must hold to be let near traffic."""

    min_accuracy: float = Field(default=0.7, ge=0, le=1)
    max_regression: float = Field(default=0.02, ge=0, le=1)
    max_p99_ms: float = Field(default=250.0, gt=0)
    max_noise_drop: float = Field(default=0.15, ge=0, le=1)
    max_adversarial_drop: float | None = Field(default=None, ge=0, le=1)
    sensitive: tuple[str, ...] = ()
    max_group_gap: float = Field(default=0.15, ge=0, le=1)


class BusinessValueSpec(Strict):
    """What one answered prediction is worth, for ``business_value_generated``."""

    use_case: str
    value_type: str = "usd"
    per_prediction: float


class MonitoringSpec(Strict):
    """The ``monitoring`` section."""

    flush_seconds: float = Field(default=2.0, gt=0)
    cycle_seconds: float = Field(default=10.0, gt=0)
    min_rows: int = Field(default=1000, ge=1)
    max_drift_score: float = Field(default=0.1, gt=0, le=1)
    port: int = Field(default=8701, ge=0, le=65535)
    business_value: tuple[BusinessValueSpec, ...] = ()


class LoopSpec(Strict):
    """One loop.yaml."""

    name: ModelName
    description: str = ""
    data: DataSourceConfig
    model: ModelSpec = ModelSpec()
    validation: GateSpec = GateSpec()
    serving: ServingSpec = ServingSpec()
    rollout: RolloutSpec = RolloutSpec()
    monitoring: MonitoringSpec = MonitoringSpec()
