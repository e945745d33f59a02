"""What a forward pass leaves behind in a model is left once a step, and not at all by what only looks at it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sharpscope.curvature.risk.state import ForwardState
from sharpscope.data import Dataset
from sharpscope.seeding import Stream
from sharpscope.spec import Regime, Training
from sharpscope.training import train
from sharpscope.training.predict import predict
from sharpscope.training.recipe import Recipe


def recipe(regime: str, **training: Any) -> Recipe:
    settings = {"batch_size": 10, "epochs": 2, "lr": 0.01, **training}
    return Recipe.from_spec(Training(**settings), Regime.model_validate(regime))


TWO_PASSES = ["sam", "asam", "esam", "gsam", "looksam", "fsam", "gradient_norm_penalty"]


class Running(nn.Module):
    """Keeps running statistics in every way, whatever mode it is in."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(64, 2)
        self.register_buffer("written", torch.zeros(()))
        self.register_buffer("assigned", torch.zeros(()))
        self.register_buffer("data", torch.zeros(()))
        self.plain, self.calls = torch.zeros(()), 0

    def forward(self, x: Tensor) -> Tensor:
        self.written += 1
        self.assigned = self.assigned + 1
        self.data.data = self.data.data + 1
        self.plain = self.plain + 1
        self.calls += 1
        return self.last(x.flatten(1))

    def counts(self) -> list[int]:
        return [int(value) for value in (self.written, self.assigned, self.data, self.plain, self.calls)]


@pytest.mark.parametrize("regime", ["baseline", *TWO_PASSES])
def test_a_step_counts_as_one_pass(regime: str, dataset: Dataset) -> None:
    model = Running()
    train(model, dataset, recipe(regime), Stream(0))
    # 30 samples in batches of 10, twice.
    assert model.counts() == [6] * 5


@pytest.mark.parametrize("regime", ["ema", "swa"])
def test_neither_goals_nor_averages_nor_predictions_count(regime: str, dataset: Dataset) -> None:
    model = nn.Sequential(Running(), nn.BatchNorm1d(2))
    train(model, dataset, recipe(regime, stop_at_loss=1e-9, check_loss_every=1), Stream(0))
    assert model[0].counts() == [6] * 5
    predict(model, dataset.test_inputs, dataset.normalize)
    assert model[0].counts() == [6] * 5


def test_state_comes_back_as_the_objects_that_it_was() -> None:
    model = Running()
    before = [model.written, model.assigned, model.plain]
    state = ForwardState(model.modules())
    model(torch.zeros(1, 64))
    model.late = torch.ones(())
    assert {"written", "assigned", "data", "plain", "calls", "late"} == set(state.changed())
    state.restore()
    assert model.counts() == [0] * 5
    assert all(a is b for a, b in zip(before, [model.written, model.assigned, model.plain], strict=True))
    assert not hasattr(model, "late")
    version = model.written._version
    state.restore_changed()
    assert model.written._version == version


class PartlyFrozen(nn.Sequential):
    """Has a BatchNorm in eval mode, one that does not move, one that is not called, and an ordinary one."""

    def __init__(self) -> None:
        norms = [nn.BatchNorm2d(1), nn.BatchNorm2d(1, momentum=0.0), nn.BatchNorm2d(1), nn.BatchNorm2d(1)]
        super().__init__(*norms, nn.Flatten(), nn.Linear(64, 2))
        for layer in norms[:2]:
            layer.running_mean.fill_(0.3)
            layer.num_batches_tracked.fill_(7)
            layer.requires_grad_(False)

    def train(self, mode: bool = True) -> PartlyFrozen:
        super().train(mode)
        self[0].eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate(self):
            x = x if number == 2 else layer(x)
        return x


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("regime", ["baseline", "sam", "ema", "swa", "sam+ema"])
def test_statistics_of_frozen_layers_are_kept(regime: str, accumulate: int, dataset: Dataset) -> None:
    model = PartlyFrozen()
    train(model, dataset, recipe(regime, accumulate=accumulate, stop_at_loss=1e-9), Stream(0))
    for layer in (model[0], model[1]):
        assert (float(layer.running_mean), float(layer.running_var)) == (pytest.approx(0.3), 1.0)
    # Frozen by momentum it still counts; by mode it does not.
    assert int(model[0].num_batches_tracked) == 7
    assert int(model[2].num_batches_tracked) == 0
    assert float(model[3].running_mean) != 0
    if regime in ("baseline", "sam"):
        assert int(model[3].num_batches_tracked) == 6
