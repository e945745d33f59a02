"""Data: datasets held as tensors, batched augmentations, and conditions that test sets and weights are altered by."""

from __future__ import annotations

from sharpscope.condition import SEVERITIES, Case, ConditionFacts
from sharpscope.data.conditions import Altered, Condition, altered_cases, conditions_of, corrupt
from sharpscope.data.dataset import CorruptionSuite, Dataset, DataSource, Samples
from sharpscope.data.registry import CONDITIONS, DATASETS
from sharpscope.data.selection import stratified

__all__ = [
    "CONDITIONS",
    "DATASETS",
    "SEVERITIES",
    "Altered",
    "Case",
    "Condition",
    "ConditionFacts",
    "CorruptionSuite",
    "DataSource",
    "Dataset",
    "Samples",
    "altered_cases",
    "conditions_of",
    "corrupt",
    "stratified",
]
