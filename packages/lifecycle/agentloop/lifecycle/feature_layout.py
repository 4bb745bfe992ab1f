"""What the columns of a feature matrix are, for networks that treat them apart."""

from __future__ import annotations

from dataclasses import dataclass

from agentloop.lifecycle.features import FeaturePipeline


@dataclass(frozen=True, slots=True)
class Layout:
    """What the columns of a feature matrix are, from the left: ``len(means)`` numbers, scaled by
    ``means`` and ``scales``; a block of ones and zeros for each category column, as wide as
    ``blocks`` says; ``text`` weights of words."""

    means: tuple[float, ...]
    scales: tuple[float, ...]
    blocks: tuple[int, ...] = ()
    text: int = 0

    @property
    def numeric(self) -> int:
        return len(self.means)

    @property
    def width(self) -> int:
        return self.numeric + sum(self.blocks) + self.text


def layout_of(pipeline: FeaturePipeline) -> Layout:
    """The layout of the matrix that the pipeline makes."""
    return Layout(
        means=tuple(feature.mean for feature in pipeline.numeric),
        scales=tuple(feature.scale for feature in pipeline.numeric),
        blocks=tuple(len(feature.categories) for feature in pipeline.categorical),
        text=sum(feature.width for feature in pipeline.text),
    )
