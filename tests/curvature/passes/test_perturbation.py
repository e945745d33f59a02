"""Perturbed losses do not depend on how many batches are held for one perturbation, and draw no noise for each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.cases import CASES, SPLITS, Case
from torch import Tensor, nn

from sharpscope.curvature.passes import Evaluator, perturbation
from sharpscope.curvature.passes.perturbation import Noise, PerturbedLosses, antithetic
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.curvature.risk.calls import Calls
from sharpscope.errors import NotDeterministic
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
        assert draw.calls == 3 * len(risk.parameters), "once for both signs of a pair, too"


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


class Branching(nn.Module):
    """Goes by the value of a weight, which can be asked of one set of weights only."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if float(self.layer.weight[0, 0]) > 0 else 2 * self.layer(x)


def changes_of(model: nn.Module, batches: list[Any], points: int = 40, **options: Any) -> list[float]:
    draws = [Noise(0.0, Stream(1)), *antithetic(0.1, Stream(0), 0, points // 2)]
    losses = PerturbedLosses(draws, **options)
    with Risk(model, Batches(batches)) as risk:
        Evaluator(risk).run({"": [losses]})
        return losses.differences


def pairs(samples: int = 12) -> list[Any]:
    x = torch.randn(samples, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return [(part, torch.arange(len(part)) % 3) for part in x.split(5)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("split", SPLITS, ids=len)
def test_points_side_by_side_have_the_changes_that_each_has_alone(
    case: Case, split: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    stacked = Calls.stacked

    def watched(self: Calls, *arguments: Any) -> Tensor | None:
        calls.append(stacked(self, *arguments))
        return calls[-1]

    monkeypatch.setattr(Calls, "stacked", watched)
    together = changes_of(case.model(), case.data(split))
    assert calls
    assert not any(found is None for found in calls)
    monkeypatch.setattr(perturbation, "_TOGETHER", 0)
    assert changes_of(case.model(), case.data(split)) == pytest.approx(together, rel=1e-9, abs=1e-12)
    assert together[0] == 0


def test_a_model_that_cannot_be_called_at_several_points_is_called_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Branching()
    found = changes_of(model, pairs())
    monkeypatch.setattr(perturbation, "_TOGETHER", 0)
    assert changes_of(model, pairs()) == found


def test_a_large_model_is_called_at_each_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Calls, "stacked", None)
    large = nn.Sequential(nn.Linear(5, 2**16), nn.Linear(2**16, 3)).double()
    changes_of(large, pairs(), points=4)
    changes_of(nn.Linear(5, 3).double(), pairs(), points=2)


def test_a_single_precision_model_does_not_change_where_nothing_is_moved() -> None:
    model = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 3))
    assert changes_of(model, [(x.float(), y) for x, y in pairs()])[0] == 0


def test_a_model_that_draws_random_numbers_is_refused_as_alone() -> None:
    class Random(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (1 + torch.rand(1, dtype=x.dtype) * float(self.weight.sum() != total))

    model = Random(5, 3, dtype=torch.float64)
    total = model.weight.detach().sum()
    with pytest.raises(NotDeterministic, match="draws random numbers"):
        changes_of(model, pairs())
