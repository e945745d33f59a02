"""What a model says about data, without augmentation, on splits that no regime changes.

The training split has the labels that were trained on: those that label noise has drawn anew, so that
the loss is the one that was minimized.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sharpscope.curvature.risk.batches import usual_batch_size
from sharpscope.curvature.risk.network import plain_attention
from sharpscope.data import Altered, Case, Condition, Dataset, conditions_of
from sharpscope.errors import DataError, SharpscopeError
from sharpscope.safety import SPLITS, Predictions, Split
from sharpscope.safety.splits import kept_classes
from sharpscope.training import predict
from sharpscope.training.modes import mode


class NotFinite(SharpscopeError):
    """A training that ended in weights whose outputs overflow: it diverged, if only at its end."""


class CleanBatches:
    """The training data as a model sees it, without augmentation, in a fixed order; nothing is kept between passes."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        inputs, targets = self._dataset.train_inputs, self._dataset.train_targets
        step = _batch_size(self._dataset)
        for batch, labels in zip(inputs.split(step), targets.split(step), strict=True):
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


def calibration_of(model: nn.Module, dataset: Dataset, device: str) -> Split | None:
    """Return what a classifier says about the calibration split; None if the data have none.

    Raises:
        NotFinite: If an output is NaN or infinite.
    """
    if dataset.calibration is None:
        return None
    inputs, targets = dataset.calibration
    return Split(_outputs(model, dataset, inputs, device), targets.numpy())


def predict_under(
    model: nn.Module,
    dataset: Dataset,
    cases: Iterable[tuple[Case, Altered]],
    device: str,
    keep: Callable[[Case, Any], Any] = lambda case, split: split.condensed(),
) -> dict[Case, Any]:
    """Return what is kept of what a model says in each case of some conditions, one after the other.

    Args:
        model: The trained model; its weights are what they were afterwards.
        dataset: Its data.
        cases: Each with what is evaluated in it.
        device: Where to compute.
        keep: From a case and a split of what the model says to what is kept of it; by itself, what is stored.

    Raises:
        DataError: If an output is NaN or infinite, where those of the clean model on clean data are not, or what a
            condition returns does not fit.
    """
    split = SPLITS[dataset.task.name]
    found = {}
    for case, altered in cases:
        with altered.applied_to(model):
            try:
                with mode(model, train=False), plain_attention():
                    inputs = altered.inputs_for(lambda images: model(dataset.normalize(images)), device)
                outputs = _outputs(model, dataset, inputs, device)
            except NotFinite as error:
                raise DataError(f"under {case}, {error}") from None
        found[case] = keep(case, split(outputs, altered.targets.numpy()))
    return found


def conditions_among(dataset: Dataset, names: Collection[str]) -> list[Condition]:
    """Return those of some conditions that a dataset has."""
    return [condition for name, condition in conditions_of(dataset, names).items() if name in names]


def passes_under(dataset: Dataset, names: Collection[str]) -> int:
    """Return how often the test set goes through a model that is evaluated under some conditions."""
    return sum(len(condition.cases) * condition.facts.passes for condition in conditions_among(dataset, names))


def passes_of_twin(dataset: Dataset, names: Collection[str]) -> int:
    """Return how often the test set goes through a model for a twin under conditions: where classes were left out."""
    whole = kept_classes(dataset.outputs) == dataset.outputs
    return 0 if whole else passes_under(dataset, names)


def _outputs(model: nn.Module, dataset: Dataset, inputs: Tensor, device: str) -> np.ndarray:
    outputs = predict(model, inputs, dataset.normalize, batch_size=_batch_size(dataset), device=device)
    finite = torch.isfinite(outputs).all(dim=1)
    if not finite.all():
        raise NotFinite(f"the trained model's outputs are NaN or infinite for {int((~finite).sum())} samples")
    return outputs.numpy()


def _batch_size(dataset: Dataset) -> int:
    return usual_batch_size(math.prod(dataset.input_shape))
