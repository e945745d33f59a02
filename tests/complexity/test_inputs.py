"""Which inputs are differentiated, and inputs that are no numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sharpscope import measure
from sharpscope.errors import NotDefined

MEASURES = ["input_jacobian_norm", "geometric_complexity", "boundary_distance"]


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.head((torch.tanh(x) * mask[..., None]).sum(dim=1))


def samples(dtype: torch.dtype) -> tuple[nn.Module, dict[str, Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Masked().double()
        x = torch.randn(7, 5, 4, dtype=torch.float64)
    mask = (torch.arange(5) < 1 + torch.arange(7)[:, None] % 5).to(dtype)
    return model, {"x": x, "mask": mask, "labels": torch.arange(7) % 3}


def values(model: nn.Module, data: Any, inputs: list[str | int] | None) -> list[float]:
    asked = {name: {"measure": name, "inputs": inputs} for name in MEASURES}
    asked["search"] = {"measure": "boundary_distance", "method": "search", "inputs": inputs}
    return [estimate.value for estimate in measure(model, data, asked).values()]


def test_inputs_that_are_named_move_alone() -> None:
    model, data = samples(torch.double)
    _, with_integers = samples(torch.long)
    expected = values(model, with_integers, None)
    assert values(model, data, ["x"]) == pytest.approx(expected, rel=1e-12)
    assert all(a != pytest.approx(b, rel=1e-3) for a, b in zip(values(model, data, None), expected, strict=True))
    assert values(model, data, ["x", "mask"]) == pytest.approx(values(model, data, None), rel=1e-12)
    positions = [((data["x"], data["mask"]), data["labels"])]
    assert values(model, positions, [0]) == pytest.approx(expected, rel=1e-12)


def test_inputs_that_are_not_there_are_named() -> None:
    model, data = samples(torch.double)
    with pytest.raises(NotDefined, match=r"names 'ids', and the model's inputs are x, mask"):
        values(model, data, ["ids"])
    with pytest.raises(NotDefined, match="the model has one"):
        values(nn.Linear(4, 3), (torch.randn(7, 4), data["labels"]), ["x"])


@pytest.mark.parametrize("name", MEASURES)
def test_an_input_that_is_no_number_leaves_no_value(name: str) -> None:
    """The derivative of a ReLU at NaN is 0."""
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    x[2, 1] = torch.nan
    assert not measure(model, (x, torch.arange(7) % 3), [name])[name].converged


class CutInput(nn.Module):
    """Looks at its inputs without gradients, but for a mask that it compares with a number."""

    def __init__(self, *, compares: bool) -> None:
        super().__init__()
        self.body = nn.Linear(5, 4)
        self.head = nn.Linear(4, 3)
        self._compares = compares

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        with torch.set_grad_enabled(self._compares):
            x = self.body(x * (mask > 0.5))
        return self.head(torch.tanh(x))


@pytest.mark.parametrize("name", ["geometric_complexity", "input_jacobian_norm", "boundary_distance"])
def test_an_input_that_the_forward_pass_cuts_off_has_no_derivatives(name: str) -> None:
    x, mask = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.ones(6, 5)
    data = [((x, mask), torch.zeros(6).long())]
    with pytest.raises(NotDefined, match="no gradient reaches an input that the outputs change with"):
        measure(CutInput(compares=False), data, [name])
    assert measure(CutInput(compares=True), data, [name])[name].value > 0
