"""What is found out about a trained model: its predictions and its measures, on data that no regime changes.

All is evaluated without augmentation. The training split has the labels that were trained on: those that a condition
such as label noise has drawn anew, so that the loss measured is the loss that was minimized.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MEASURES, first_pass
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.data import Altered, Case, Dataset
from sharpscope.errors import FAULTS, DataError, NotDefined, SharpscopeError
from sharpscope.measurement import Measurements, measure_batches
from sharpscope.safety import SCORES, SPLITS, Predictions
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
    on_refusal: Callable[[str, NotDefined], None] | None = None,
) -> Measurements:
    """Measure a model on the training data, or on the samples of it that a measure is to be taken on.

    Args:
        model: The trained model.
        dataset: Its data, with the labels trained on.
        wishes: What to measure, by key.
        seed: The seed of all estimators.
        init: The parameters before training, by name.
        device: Where to compute.
        on_refusal: Called with the key of a measure that is not defined for this model, and why; it is left out.

    Raises:
        SharpscopeError: If a measure cannot be had, unless ``on_refusal`` is told.
    """
    stream = Stream(seed, "measure")
    found: dict[str, Estimate] = {}
    for subset in dict.fromkeys(wanted.subset for wanted in wishes.values()):
        part = {key: wanted for key, wanted in wishes.items() if wanted.subset == subset}
        found |= measure_batches(
            Batches(CleanBatches(dataset), subset=subset, stream=_SUBSET),
            lambda samples: Risk(model, samples, loss=dataset.task.loss, device=device, stream=stream, init=init),
            {key: (wanted.name, wanted.options) for key, wanted in part.items()},
            stream.child("groups"),
            on_refusal=on_refusal,
        )
    return Measurements({key: found[key] for key in wishes if key in found})


def measure_each(
    model: nn.Module,
    dataset: Dataset,
    wishes: Mapping[str, Wish],
    seed: int,
    init: Mapping[str, Tensor],
    device: str = "cpu",
) -> tuple[dict[str, Estimate], dict[str, BaseException]]:
    """Measure a model as ``measure_clean`` does, but let a measure that fails take no other with it.

    Returns:
        The estimates, and what was raised in the place of the others, by key.
    """
    errors: dict[str, BaseException] = {}
    try:
        return dict(measure_clean(model, dataset, wishes, seed, init, device, errors.__setitem__)), errors
    except FAULTS as error:
        if len(wishes) == 1:
            return {}, dict.fromkeys(wishes, error)
    # Which one failed in a pass that served all cannot be told; values do not depend on what is measured beside them.
    alone = [measure_each(model, dataset, {key: wanted}, seed, init, device) for key, wanted in wishes.items()]
    return {k: e for found, _ in alone for k, e in found.items()}, {k: e for _, bad in alone for k, e in bad.items()}


def refused_at_once(model: nn.Module, dataset: Dataset, wishes: Mapping[str, Wish]) -> dict[str, str]:
    """Return the measures that say in their first pass over the data that they are not defined here, and why.

    What else a measure raises, and what later passes would, is left to the measuring in earnest.
    """
    refused: dict[str, str] = {}

    def on_refusal(key: str, error: NotDefined) -> None:
        refused[key] = str(error)

    init = dict(model.named_parameters())
    risk = Risk(model, Batches(CleanBatches(dataset)), loss=dataset.task.loss, stream=Stream("trial"), init=init)
    asked = {key: (MEASURES[wanted.name].function.steps, wanted.options) for key, wanted in wishes.items()}
    with contextlib.suppress(Exception):
        first_pass(risk, asked, on_refusal)
    return refused


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


def predict_under(
    model: nn.Module, dataset: Dataset, cases: Iterable[tuple[Case, Altered]], device: str
) -> dict[Case, Any]:
    """Return what is kept of what a model says in each case of some conditions, one after the other.

    Args:
        model: The trained model; its weights are what they were afterwards.
        dataset: Its data.
        cases: Each with what is evaluated in it.
        device: Where to compute.

    Raises:
        NotFinite: If an output of the model itself is NaN or infinite.
        DataError: If one of the model with altered weights is, or what a condition returns does not fit.
    """
    split = SPLITS[dataset.task.name]
    found = {}
    for case, altered in cases:
        with altered.applied_to(model):
            try:
                outputs = _outputs(model, dataset, altered.inputs, device)
            except NotFinite as error:
                if altered.alter is None:
                    raise
                raise DataError(f"under the condition {case}, {error}; leave out the scores under it") from None
        found[case] = split(outputs, altered.targets.numpy()).condensed()
    return found


def values_at_level(predictions: Predictions, task: Task) -> dict[str, float]:
    """Return what is told of predictions at a matched train loss, by the names in ``task.at_loss``."""
    return {**predictions.basics(), task.gap: SCORES[task.gap](predictions)}


def _outputs(model: nn.Module, dataset: Dataset, inputs: Tensor, device: str) -> np.ndarray:
    outputs = predict(model, inputs, dataset.normalize, batch_size=BATCH_SIZE, device=device)
    finite = torch.isfinite(outputs).all(dim=1)
    if not finite.all():
        raise NotFinite(f"the trained model's outputs are NaN or infinite for {int((~finite).sum())} samples")
    return outputs.numpy()
