"""The registries of datasets and of corruptions, and what a corruption declares of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sharpscope.data.dataset import Augmentation
from sharpscope.registry import Registry


@dataclass(frozen=True)
class DatasetFacts:
    """What a dataset of images that needs files declares, so that a study of it can be planned without them.

    Attributes:
        shape: Of an image: (channels, height, width).
        classes: Their number.
        train_size: Number of all training images.
        test_size: Number of all test images.
        augment: The augmentation that suits the data.
        suite: Name and corruptions of its published corruptions, where it has any.
    """

    shape: tuple[int, int, int]
    classes: int
    train_size: int
    test_size: int
    augment: Augmentation | None = None
    suite: tuple[str, tuple[str, ...]] | None = None


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
