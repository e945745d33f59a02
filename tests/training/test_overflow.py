"""A training in half precision that takes no step, since every gradient overflows, says so."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sharpscope.seeding import Stream
from sharpscope.spec import Regime, Training
from sharpscope.training import Recipe, train
from sharpscope.training.history import Diverged


class Rooted(nn.Module):
    """Finite outputs whose derivative is not: that of a root at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.linear(x.flatten(1))
        return logits + (logits - logits.detach()).square().sqrt()


@pytest.mark.parametrize("epochs", [1, 20])
@pytest.mark.parametrize("regime", ["baseline", "sam"])
@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_a_gradient_that_is_never_finite_is_told_in_any_precision(dataset, precision, regime, epochs):
    training = Training(precision=precision, epochs=epochs, batch_size=10)
    recipe = Recipe.from_spec(training, Regime.model_validate(regime))
    with pytest.raises(Diverged) as caught:
        train(Rooted(), dataset, recipe, Stream("rooted"))
    assert ("no gradient was finite" in str(caught.value)) == (precision == "fp16")


def test_a_scale_that_finds_its_size_late_is_no_fault(dataset):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    recipe = Recipe.from_spec(Training(precision="fp16", epochs=2, batch_size=10), Regime.model_validate("baseline"))
    assert train(model, dataset, recipe, Stream("late")).step == 6


def test_it_ends_once_no_smaller_scale_can_help(dataset):
    recipe = Recipe.from_spec(Training(precision="fp16", epochs=20, batch_size=10), Regime.model_validate("baseline"))
    with pytest.raises(Diverged, match="at epoch 14, step 41 of 60; train in float32 or bf16"):
        train(Rooted(), dataset, recipe, Stream("rooted"))
