"""What a model says about data, without augmentation, on splits that no regime changes.

The training split has the labels that were trained on: those that a condition such as label noise has drawn anew, so
that the loss is the one that was minimized.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from sharpscope.data import Dataset
from sharpscope.errors import SharpscopeError
from sharpscope.safety import SPLITS, Corrupted, Predictions, Split
from sharpscope.training import predict

BATCH_SIZE = 256


class NotFinite(SharpscopeError):
    """A training that ended in weights whose outputs overflow: it diverged, if only at its end."""


class CleanBatches:
    """The training data as a model sees it, without augmentation, in a fixed order; nothing is kept between passes."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        inputs, targets = self._dataset.train_inputs, self._dataset.train_targets
        for batch, labels in zip(inputs.split(BATCH_SIZE), targets.split(BATCH_SIZE), strict=True):
            yield self._dataset.normalize(batch), labels


def predictions_of(model: nn.Module, dataset: Dataset, device: str) -> Predictions:
    """Return what a model says about the training set and the test set.

    Raises:
        NotFinite: If an output is NaN or infinite.
    """
    split = SPLITS[dataset.task.name]
    return Predictions(
        train=split(_outputs(model, dataset, dataset.train_inputs, device), dataset.train_targets.numpy()),
        test=split(_outputs(model, dataset, dataset.test_inputs, device), dataset.test_targets.numpy()),
    )


def predict_corrupted(
    model: nn.Module, dataset: Dataset, conditions: Iterable[tuple[str, Tensor]], device: str
) -> Corrupted:
    """Return what a model says about corruptions of the test set, one after the other.

    Args:
        model: The trained model.
        dataset: Its data.
        conditions: Names with the test inputs under each.
        device: Where to compute.

    Raises:
        NotFinite: If an output is NaN or infinite.
    """
    small = np.min_scalar_type(dataset.outputs - 1)
    names, predicted, confidence = [], [], []
    for name, inputs in conditions:
        split = Split(_outputs(model, dataset, inputs, device), dataset.test_targets.numpy())
        names.append(name)
        predicted.append(split.predicted.astype(small))
        confidence.append(split.confidence.astype(np.float16))
    return Corrupted(tuple(names), np.stack(predicted), np.stack(confidence))


def _outputs(model: nn.Module, dataset: Dataset, inputs: Tensor, device: str) -> np.ndarray:
    outputs = predict(model, inputs, dataset.normalize, batch_size=BATCH_SIZE, device=device)
    finite = torch.isfinite(outputs).all(dim=1)
    if not finite.all():
        raise NotFinite(f"the trained model's outputs are NaN or infinite for {int((~finite).sum())} samples")
    return outputs.numpy()
