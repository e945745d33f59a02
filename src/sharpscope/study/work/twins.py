"""Twins: a model with its head divided by a temperature, which predicts the same with another confidence."""

from __future__ import annotations

import torch
from torch import nn

from sharpscope.data import Dataset
from sharpscope.errors import SharpscopeError
from sharpscope.study.work.few import few_of
from sharpscope.study.work.measuring import measure_clean
from sharpscope.study.work.requested import RequestedValue
from sharpscope.training import predict

_HEAD = "head_norm"  # a measure that tells which layer the head is


def divide_head(model: nn.Module, dataset: Dataset, temperature: float, device: str) -> None:
    """Divide weight and bias of a model's head by a temperature, in place, and so its outputs.

    Args:
        model: The model, in eval mode, on the device.
        dataset: Its data, a few samples of which find the head.
        temperature: What to divide by.
        device: Where to compute.

    Raises:
        HeadNotFound: If its outputs are not linear in the weight of a final linear layer.
        SharpscopeError: If dividing that layer does not divide the outputs: others use its weight, or it is made of
            other parameters.
    """
    few = few_of(dataset)
    found = measure_clean(model, few, {_HEAD: RequestedValue(_HEAD)}, 0, {}, device, noted=())
    name = str(found[_HEAD].details["layer"])
    head = model.get_submodule(name)
    before = predict(model, few.train_inputs, few.normalize, batch_size=len(few.train_inputs), device=device)
    with torch.no_grad():
        for parameter in head.parameters(recurse=False):
            parameter.div_(temperature)
    after = predict(model, few.train_inputs, few.normalize, batch_size=len(few.train_inputs), device=device)
    if not torch.allclose(after, before / temperature, rtol=1e-3, atol=1e-5 * float(before.abs().max()) / temperature):
        raise SharpscopeError(
            f"dividing the head '{name}' does not divide the outputs of the model: its weight is used elsewhere "
            "too, or made of other parameters; leave twins out"
        )
