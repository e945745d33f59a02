"""Data: datasets held as tensors, batched augmentations, and corruptions of the test set."""

from __future__ import annotations

from sharpscope.data.corrupted import SEVERITIES, corrupt, corrupted_test_sets, corruptions_of
from sharpscope.data.dataset import CorruptionSuite, Dataset, Source
from sharpscope.data.registry import CORRUPTIONS, DATASETS, CorruptionFacts
from sharpscope.data.selection import stratified

__all__ = [
    "CORRUPTIONS",
    "DATASETS",
    "SEVERITIES",
    "CorruptionFacts",
    "CorruptionSuite",
    "Dataset",
    "Source",
    "corrupt",
    "corrupted_test_sets",
    "corruptions_of",
    "stratified",
]
