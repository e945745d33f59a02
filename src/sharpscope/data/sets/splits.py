"""Datasets that are published in two splits: what is read differs, how they are registered does not."""

from __future__ import annotations

import inspect
from typing import Protocol

from sharpscope.data.dataset import Dataset, DataSource
from sharpscope.data.registry import DATASETS, DatasetFacts
from sharpscope.data.subsets.parts import Sizes

_DOCUMENTATION = """{about}

Args:
    source: Where the files are.
    train_size: Size of a stratified training subset; None for all. Sizes are nested.
    test_size: Size of a stratified test subset, the same for every seed; None for all.
    subset_seed: Which training subset of that size.
    calibration_size: Samples to calibrate on, which are not trained on. None for some that ``train_size`` leaves over:
        a tenth of the training split, but 500 to 5,000, or what is left; none where fewer than 100 are left. A number
        is taken off the training set where ``train_size`` is None.

Returns:
    Images as uint8 ``[N, {shape}]``.

Raises:
    DataError: If a file is missing or damaged, or a size out of range.

Reference: {reference}
"""


class Splits(Protocol):
    """A dataset as published."""

    @property
    def name(self) -> str:
        """What users write."""

    def load(self, source: DataSource, sizes: Sizes) -> Dataset:
        """Return the dataset, or stratified and nested subsets of its two splits.

        Raises:
            DataError: If a file is missing, damaged or another than the published one, or a size is out of range.
        """


def register(splits: Splits, facts: DatasetFacts, about: str, reference: str) -> None:
    """Register a published dataset; its options choose a subset of each split.

    Args:
        splits: The dataset.
        facts: What is known of it without its files.
        about: What it is, in one line, and where its files may lie.
        reference: Who published it.
    """

    def read(
        source: DataSource,
        *,
        train_size: int | None = None,
        test_size: int | None = None,
        subset_seed: int = 0,
        calibration_size: int | None = None,
    ) -> Dataset:
        return splits.load(source, Sizes(train_size, test_size, subset_seed, calibration_size))

    shape = ", ".join(map(str, facts.shape))
    read.__doc__ = _DOCUMENTATION.format(about=inspect.cleandoc(about), shape=shape, reference=reference)
    DATASETS.register(splits.name, facts=facts)(read)
