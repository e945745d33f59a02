"""Perturbed losses do not depend on how many batches are held for one perturbation, and draw no noise for each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.cases import CASES, SPLITS
from torch import Tensor

from sharpscope.curvature.passes import Evaluator, perturbation
from sharpscope.curvature.passes.perturbation import PerturbedLosses, antithetic
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.seeding import Stream


class Counted:
    """Draws as ``torch.randn`` does, and counts the parameters drawn for."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *shape: Any, **options: Any) -> Tensor:
        self.calls += 1
        return torch.randn(*shape, **options)


@pytest.mark.parametrize("split", SPLITS, ids=len)
def test_noise_is_drawn_once_for_all_batches_that_are_held(split: tuple[int, ...]) -> None:
    case, draw = CASES[0], Counted()
    losses = PerturbedLosses(antithetic(0.1, Stream(0), 0, 3, draw))
    with Risk(case.model(), Batches(case.data(split))) as risk:
        Evaluator(risk).run({"": [losses]})
        assert len(losses.differences) == 6
        assert losses.differences == losses.differences
        assert draw.calls == 6 * len(risk.parameters)


# Five numbers of eight bytes a sample.
@pytest.mark.parametrize("held", [1, 4 * 40, 9 * 40, 12 * 40, 13 * 40])
def test_changes_are_those_of_the_losses_whatever_is_held(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perturbation, "_HELD", held)
    case = CASES[0]
    points = antithetic(0.1, Stream(0), 0, 2)
    losses = PerturbedLosses(points)
    with Risk(case.model(), Batches(case.data((3, 4, 5)))) as risk:
        Evaluator(risk).run({"": [losses]})
        assert losses.samples == 12
        for point, difference in zip(points, losses.differences, strict=True):
            moved = point.apply(risk.parameters)
            changes = [
                risk.losses(risk.outputs(batch, moved), batch.targets) - risk.losses(risk.outputs(batch), batch.targets)
                for batch in risk
            ]
            assert difference == pytest.approx(float(torch.cat(changes).detach().mean()), rel=1e-12)
