"""The registries of datasets and of conditions, and what a dataset in files declares of itself."""

from __future__ import annotations

from dataclasses import dataclass

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


# A dataset is ``(source: Source, *, options) -> Dataset``.
DATASETS: Registry = Registry("dataset", package="sharpscope.data.sets")

# What a condition is given and returns depends on its kind; see ``sharpscope.data.conditions.applying``.
CONDITIONS: Registry = Registry("condition", package="sharpscope.data.conditions")
