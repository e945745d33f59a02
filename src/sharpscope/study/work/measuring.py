"""Measures of a trained model on its training data, which no regime changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from torch import Tensor, nn

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MEASURES, Kinds, first_pass
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batch, Batches
from sharpscope.curvature.risk.twin_memory import TwinMemory
from sharpscope.data import Dataset
from sharpscope.errors import FAULTS
from sharpscope.measurement import Measurements, measure_batches
from sharpscope.seeding import Stream
from sharpscope.study.work.outputs import CleanBatches
from sharpscope.study.work.requested import RequestedValue

# All runs are measured on the same samples, so that none differs from another by those that it was measured on.
_SUBSET = Stream("study", "subset")


def measure_clean(
    model: nn.Module,
    dataset: Dataset,
    requested: Mapping[str, RequestedValue],
    seed: int,
    init: Mapping[str, Tensor],
    device: str = "cpu",
    *,
    noted: Kinds = FAULTS,
    twins: TwinMemory | None = None,
) -> Measurements:
    """Measure a model on the training data, or on the samples of it that a measure is to be taken on.

    Args:
        model: The trained model.
        dataset: Its data, with the labels trained on.
        requested: What to measure, by key.
        seed: The seed of all estimators.
        init: The parameters before training, by name.
        device: Where to compute.
        noted: Kinds of errors that cost no more than the measure that raises them, and are noted in the result; an
            error of the model, or of the data, costs all that are taken on the same samples.
        twins: What is kept of the model for its twins, or was kept of it; of what is taken on all samples.
    """
    stream = Stream(seed, "measure")

    def risk_on(samples: Iterable[Batch], memory: TwinMemory | None) -> Risk:
        risk = Risk(model, samples, loss=dataset.task.loss, device=device, stream=stream, init=init)
        risk.twins = memory
        return risk

    found: dict[str, Estimate] = {}
    failed: dict[str, BaseException] = {}
    for subset in dict.fromkeys(wanted.subset for wanted in requested.values()):
        part = {key: wanted for key, wanted in requested.items() if wanted.subset == subset}
        try:
            measured = measure_batches(
                Batches(CleanBatches(dataset), subset=subset, stream=_SUBSET),
                partial(risk_on, memory=twins if subset is None else None),
                {key: (wanted.name, wanted.options) for key, wanted in part.items()},
                stream.child("groups"),
                noted=noted,
            )
        except noted as error:
            failed |= dict.fromkeys(part, error)
        else:
            found |= measured
            failed |= measured.failed
    return Measurements({key: found[key] for key in requested if key in found}, failed)


def refused_at_once(model: nn.Module, dataset: Dataset, requested: Mapping[str, RequestedValue]) -> dict[str, str]:
    """Return the measures that cannot be had, whatever the weights will be, and why.

    These do not take their options together with this model, or say in their first pass over the data that they are not
    defined here. What else a measure raises, and what later passes would, is left to the measuring in earnest.
    """
    init = dict(model.named_parameters())
    risk = Risk(model, Batches(CleanBatches(dataset)), loss=dataset.task.loss, stream=Stream("dry_run"), init=init)
    asked = {key: (MEASURES[wanted.name].function.steps, wanted.options) for key, wanted in requested.items()}
    return {key: str(error) for key, error in first_pass(risk, asked, FAULTS).items()}
