"""Data: datasets held as tensors, batched augmentations, and conditions that test sets and weights are altered by.

``dataset`` says what a dataset is, and ``registry`` holds those that are registered, and the conditions. Three rooms
serve their readers: ``files`` fetches and reads what is published, ``subsets`` chooses samples, and ``augmentations``
alters batches in training. On these build ``sets``, the datasets themselves, and ``conditions``; neither knows the
other.
"""

from __future__ import annotations

from sharpscope.condition import SEVERITIES, Case, ConditionFacts
from sharpscope.data.conditions.applying import Altered, Condition, altered_cases, conditions_of, corrupt
from sharpscope.data.dataset import CorruptionSuite, Dataset, DataSource, Samples
from sharpscope.data.registry import CONDITIONS, DATASETS
from sharpscope.data.subsets.selection import stratified

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
