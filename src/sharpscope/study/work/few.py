"""A few samples of a dataset, by which models are tried and looked into."""

from __future__ import annotations

from dataclasses import replace

from sharpscope.data import Dataset

# Enough to see whether a model has a measure at all, and whether a recipe suits the data.
FEW = 4


def few_of(dataset: Dataset) -> Dataset:
    """Return a dataset with a few training samples."""
    inputs, targets = dataset.train_inputs[:FEW], dataset.train_targets[:FEW]
    return replace(dataset, train_inputs=inputs, train_targets=targets)
