"""Conditions of data: samples of no class take the place of the test set, to see whether a model is as sure of them."""

from __future__ import annotations

import torch
from torch import Tensor

from sharpscope.condition import ConditionFacts
from sharpscope.data.dataset import Dataset
from sharpscope.data.registry import CONDITIONS
from sharpscope.seeding import Stream


@CONDITIONS.register(
    facts=ConditionFacts(
        "data",
        "Shuffled values",
        family="other data",
        severities=(1,),
        caveats=("Its targets are of no meaning, so that only confidences can be scored.",),
        reference='the reference distribution of Hastie, Tibshirani & Friedman, "The Elements of Statistical '
        'Learning", 2009, section 14.2.4',
    )
)
def shuffled_values(dataset: Dataset, severity: int, stream: Stream) -> tuple[Tensor, Tensor]:
    """Each value of an input is that of another test sample: values alone are as usual, and nothing fits together."""
    inputs = dataset.test_inputs.flatten(1)
    order = torch.rand(inputs.shape, generator=stream.torch()).argsort(dim=0)
    mixed = inputs.gather(0, order).view(dataset.test_inputs.shape)
    return mixed, torch.zeros_like(dataset.test_targets)
