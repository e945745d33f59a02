"""How often a model is called for what is asked of it, and with how many samples: numbers, and no times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharpscope import measure


def asked_of_a_model(samples: list[int], measures: Any = None, **options: Any) -> tuple[list[int], int]:
    """Return the samples of each call of a small network that is measured on such batches, and its backward passes."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    batches = [
        (torch.randn(n, 5, dtype=torch.float64, generator=generator), torch.arange(n).roll(k) % 3)
        for k, n in enumerate(samples)
    ]
    calls: list[int] = []
    model.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    with mock.patch("torch.autograd.grad", wraps=torch.autograd.grad) as backward:
        measure(model, batches, measures, **options)
    return calls, backward.call_count


@pytest.mark.parametrize(
    ("samples", "calls"),
    [
        # Two looks inside without gradients; one with gradients; one sample, since sizes may agree by chance; the pass.
        ([8], [8, 8, 8, 1, 8]),
        # Two sizes are seen where the few are not all.
        ([40], [16, 16, 16, 40]),
        # Whether samples depend on each other is seen when a second batch comes.
        ([40, 40, 30], [16, 16, 16, 40, 40, 2, 30]),
        # More samples than those of the first batch are looked at when they come.
        ([8, 12], [8, 8, 8, 1, 8, 12, 12, 12, 2]),
    ],
)
def test_default_measures_call_a_model_no_more_often_than_told(samples: list[int], calls: list[int]) -> None:
    # A backward pass for each look with gradients, and one for each batch.
    found, backward = asked_of_a_model(samples)
    assert found == calls
    assert backward == len(samples) + (2 if samples == [8, 12] else 1)


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


@pytest.mark.parametrize("loss", [losses, nn.CrossEntropyLoss(label_smoothing=0.1)])
def test_the_look_at_a_loss_takes_the_outputs_that_are_known(loss: Callable[..., Any]) -> None:
    assert asked_of_a_model([8], loss=loss)[0] == [8, 8, 8, 1, 8]


@pytest.mark.parametrize(
    ("name", "calls", "backward"),
    [
        ("margin", [8, 8, 8], 0),
        ("gradient_norm", [8, 8, 8, 8], 2),
        # Where single samples are not asked for, one of them alone is not looked at.
        ("fisher_rao_norm", [8, 8, 8, 1, 8], 2),
    ],
)
def test_a_measure_has_only_the_looks_that_it_needs(name: str, calls: list[int], backward: int) -> None:
    assert asked_of_a_model([8], [name]) == (calls, backward)
