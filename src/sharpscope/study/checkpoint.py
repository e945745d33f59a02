"""Measuring a checkpoint that was made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from sharpscope.data import DATASETS, Source
from sharpscope.errors import SharpscopeError
from sharpscope.measurement import Measurements, measure
from sharpscope.registry import imported
from sharpscope.study.evaluation import CleanBatches
from sharpscope.study.reasons import one_line


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
        weights: A safetensors file, or a state dict saved by ``torch.save``; nothing but tensors is read from it.
        data: The name of a dataset.
        measures: Names of measures; the cheap exact ones when None.
        data_dir: The user's folder of datasets.
        device: Where to compute.

    Raises:
        SharpscopeError: If the model, its weights or the data cannot be had, or do not fit each other.
    """
    entry = DATASETS[data]
    dataset = entry(Source(data_dir), **entry.complete({}))
    model = _model(factory)
    state = _state(weights)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise SharpscopeError(f"the weights in {weights} do not fit {factory}: {_shortened(error)}") from None
    return measure(model, CleanBatches(dataset), measures, device=device)


def _model(factory: str) -> nn.Module:
    make = imported(factory, "model")
    try:
        model = make()
    except Exception as error:
        raise SharpscopeError(f"--model {factory} fails: {one_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise SharpscopeError(f"--model {factory} must return a torch.nn.Module, got a {type(model).__name__}")
    return model


def _state(weights: Path) -> dict[str, Any]:
    if not weights.is_file():
        raise SharpscopeError(f"there is no file of weights {weights}")
    try:
        if weights.suffix == ".safetensors":
            return load_file(weights)
        loaded = torch.load(weights, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise SharpscopeError(f"{weights} is not a safetensors file: {error}") from None
    except Exception as error:  # noqa: BLE001 - torch.load raises whatever its readers do
        raise SharpscopeError(
            f"{weights} cannot be read as weights ({_shortened(error)}); "
            "save a state dict with torch.save or safetensors"
        ) from None
    if not isinstance(loaded, dict):
        raise SharpscopeError(f"{weights} must hold a state dict, got a {type(loaded).__name__}")
    return loaded


def _shortened(error: Exception, length: int = 200) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= length else f"{text[:length]}..."
