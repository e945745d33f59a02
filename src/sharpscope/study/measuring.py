"""Measures of a trained model on its training data, which no regime changes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MEASURES, first_pass
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.data import Dataset
from sharpscope.errors import FAULTS, NotDefined
from sharpscope.measurement import Measurements, measure_batches
from sharpscope.seeding import Stream
from sharpscope.study.outputs import CleanBatches
from sharpscope.study.wishes import Wish

# All runs are measured on the same samples, so that none differs from another by those that it was measured on.
_SUBSET = Stream("study", "subset")


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
