"""Measuring a checkpoint that was made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from sharpscope.data import DATASETS, DataSource
from sharpscope.errors import FAULTS, SharpscopeError, one_line
from sharpscope.measurement import Measurements, measure
from sharpscope.registry import imported
from sharpscope.study.work.outputs import CleanBatches
from sharpscope.study.work.weights import load_weights


def measure_checkpoint(
    factory: str,
    weights: Path,
    data: str,
    measures: Sequence[str] | None = None,
    data_dir: Path | None = None,
    device: str = "cpu",
) -> Measurements:
    """Measure a model on the clean training data of a dataset.

    Args:
        factory: ``pkg.module:factory``, importable from here; called without arguments it returns the model.
        weights: A safetensors file, or a state dict saved by ``torch.save``, as ``load_weights`` reads it; nothing but
            tensors is read from it.
        data: The name of a dataset.
        measures: Names of measures; the cheap exact ones when None.
        data_dir: The user's folder of datasets.
        device: Where to compute.

    Raises:
        SharpscopeError: If the model, its weights or the data cannot be had, or do not fit each other.
    """
    entry = DATASETS[data]
    dataset = entry(DataSource(data_dir), **entry.complete({}))
    model = _model(factory)
    load_weights(model, weights, factory)
    try:
        return measure(model, CleanBatches(dataset), measures, loss=dataset.task.loss, device=device)
    except SharpscopeError:
        raise
    except FAULTS as error:
        raise SharpscopeError(f"{factory} cannot be measured on dataset '{data}': {one_line(error):.300}") from error


def _model(factory: str) -> nn.Module:
    make = imported(factory, "model")
    try:
        model = make()
    except FAULTS as error:
        raise SharpscopeError(f"--model {factory} fails: {one_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise SharpscopeError(f"--model {factory} must return a torch.nn.Module, got a {type(model).__name__}")
    return model
