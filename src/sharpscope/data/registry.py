"""The registries of datasets and of corruptions, and what a corruption declares of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sharpscope.registry import Registry


@dataclass(frozen=True)
class CorruptionFacts:
    """What a corruption declares.

    Attributes:
        family: The kind of damage.
        differs: How it departs from the reference's recipe; empty where it does not.
        reference: Where it is defined.
    """

    family: Literal["noise", "blur", "weather", "digital"]
    differs: str = ""
    reference: str = (
        'Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and '
        'Perturbations", ICLR 2019'
    )


# A dataset is ``(source: Source, *, options) -> Dataset``.
DATASETS: Registry = Registry("dataset", package="sharpscope.data")

# A corruption is ``(images: Tensor, severity: int, draws: Draws, *, options) -> Tensor``, on floats in [0,
# 1].
CORRUPTIONS: Registry = Registry("corruption", package="sharpscope.data")
