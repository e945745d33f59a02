"""What the head of a network is given for test samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from sharpscope.curvature.passes.evaluation import Evaluation, Need, Reduction
from sharpscope.curvature.passes.evaluator import Evaluator
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.data import Dataset
from sharpscope.seeding import Stream
from sharpscope.study.work.outputs import CleanBatches

# Test samples whose features are kept.
MOST = 2_000
_SUBSET = Stream("study", "features")


class _Kept(Reduction):
    """The features of all samples, one batch after the other."""

    needs = Need.FEATURES

    def __init__(self) -> None:
        self.batches: list[Tensor] = []

    def update(self, evaluation: Evaluation) -> None:
        assert evaluation.features is not None
        self.batches.append(evaluation.features.detach().to("cpu", torch.float32))


def samples_of(dataset: Dataset, most: int = MOST) -> Dataset:
    """Return a dataset with some test samples in the place of those trained on: the same for all runs, in their order.

    Args:
        dataset: The data.
        most: How many at most.
    """
    count = len(dataset.test_inputs)
    chosen = torch.randperm(count, generator=_SUBSET.torch())[:most].sort().values if count > most else slice(None)
    return replace(dataset, train_inputs=dataset.test_inputs[chosen], train_targets=dataset.test_targets[chosen])


def head_inputs(model: nn.Module, samples: Dataset, device: str) -> np.ndarray:
    """Return what the head of a model is given, float32 ``[N, D]``.

    Args:
        model: In eval mode.
        samples: By ``samples_of``.
        device: Where to compute.

    Raises:
        HeadNotFound: If the outputs are not linear in the weight of a final linear layer.
    """
    kept = _Kept()
    risk = Risk(model, Batches(CleanBatches(samples)), loss=samples.task.loss, device=device, stream=_SUBSET)
    with risk:
        Evaluator(risk).run({"features": [kept]})
    return torch.cat(kept.batches).numpy()
