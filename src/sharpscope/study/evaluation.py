"""What is found out about a trained model: its predictions and its measures, on data that no regime changes.

All is evaluated without augmentation. The training split has the labels that were trained on: those that a condition
such as label noise has drawn anew, so that the loss measured is the loss that was minimized.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MEASURES, Kinds, first_pass
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.data import Dataset
from sharpscope.errors import FAULTS, NotDefined, SharpscopeError
from sharpscope.measurement import Measurements, measure_batches
from sharpscope.safety import SCORES, SPLITS, Corrupted, Predictions, Split
from sharpscope.seeding import Stream
from sharpscope.store.documents import plain
from sharpscope.store.wishes import Wish
from sharpscope.task import Task
from sharpscope.training import predict

BATCH_SIZE = 256
# All runs are measured on the same samples, so that none differs from another by those that it was measured on.
_SUBSET = Stream("study", "subset")


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


def measure_clean(
    model: nn.Module,
    dataset: Dataset,
    wishes: Mapping[str, Wish],
    seed: int,
    init: Mapping[str, Tensor],
    device: str = "cpu",
    *,
    noted: Kinds = FAULTS,
) -> Measurements:
    """Measure a model on the training data, or on the samples of it that a measure is to be taken on.

    Args:
        model: The trained model.
        dataset: Its data, with the labels trained on.
        wishes: What to measure, by key.
        seed: The seed of all estimators.
        init: The parameters before training, by name.
        device: Where to compute.
        noted: Kinds of errors that cost no more than the measure that raises them, and are noted in the result; an
            error of the model, or of the data, costs all that are taken on the same samples.
    """
    stream = Stream(seed, "measure")
    found: dict[str, Estimate] = {}
    failed: dict[str, BaseException] = {}
    for subset in dict.fromkeys(wanted.subset for wanted in wishes.values()):
        part = {key: wanted for key, wanted in wishes.items() if wanted.subset == subset}
        try:
            measured = measure_batches(
                Batches(CleanBatches(dataset), subset=subset, stream=_SUBSET),
                lambda samples: Risk(model, samples, loss=dataset.task.loss, device=device, stream=stream, init=init),
                {key: (wanted.name, wanted.options) for key, wanted in part.items()},
                stream.child("groups"),
                noted=noted,
            )
        except noted as error:
            failed |= dict.fromkeys(part, error)
        else:
            found |= measured
            failed |= measured.failed
    return Measurements({key: found[key] for key in wishes if key in found}, failed)


def refused_at_once(model: nn.Module, dataset: Dataset, wishes: Mapping[str, Wish]) -> dict[str, str]:
    """Return the measures that say in their first pass over the data that they are not defined here, and why.

    What else a measure raises, and what later passes would, is left to the measuring in earnest.
    """
    init = dict(model.named_parameters())
    risk = Risk(model, Batches(CleanBatches(dataset)), loss=dataset.task.loss, stream=Stream("trial"), init=init)
    asked = {key: (MEASURES[wanted.name].function.steps, wanted.options) for key, wanted in wishes.items()}
    failed = first_pass(risk, asked, FAULTS)
    return {key: str(error) for key, error in failed.items() if isinstance(error, NotDefined)}


def stamped(found: Mapping[str, Estimate], wishes: Mapping[str, Wish]) -> dict[str, dict[str, Any]]:
    """Return estimates as ``run.json`` has them, by key."""
    return {
        key: {
            **wishes[key].stamp("measure"),
            "value": float(estimate.value),
            "stderr": float(estimate.stderr),
            "samples": int(estimate.samples),
            "converged": bool(estimate.converged),
            "details": plain(dict(estimate.details)),
        }
        for key, estimate in found.items()
    }


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


def values_at_level(predictions: Predictions, task: Task) -> dict[str, float]:
    """Return what is told of predictions at a matched train loss, by the names in ``task.at_loss``."""
    return {**predictions.basics(), task.gap: SCORES[task.gap](predictions)}


def _outputs(model: nn.Module, dataset: Dataset, inputs: Tensor, device: str) -> np.ndarray:
    outputs = predict(model, inputs, dataset.normalize, batch_size=BATCH_SIZE, device=device)
    finite = torch.isfinite(outputs).all(dim=1)
    if not finite.all():
        raise NotFinite(f"the trained model's outputs are NaN or infinite for {int((~finite).sum())} samples")
    return outputs.numpy()
