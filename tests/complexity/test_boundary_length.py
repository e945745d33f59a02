"""The length of decision boundaries that are known: circles, rays, stripes; and coverage of its stated error."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sharpscope import Estimate, measure
from sharpscope.errors import NotDefined, SharpscopeError

NAME = "boundary_length"
SQUARE = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.2, 0.0]])


class Gap(nn.Module):
    """Two classes that change where a function of the point is zero."""

    def __init__(self, gap: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.gap = gap

    def forward(self, x: Tensor) -> Tensor:
        gap = self.scale * self.gap(x)
        return torch.stack([gap, -gap], dim=1)


def circle(radius: float) -> nn.Module:
    return Gap(lambda x: radius**2 - x.square().sum(dim=1))


def length(
    model: nn.Module, x: Tensor = SQUARE, *, seed: int = 0, rtol: float | None = None, **options: object
) -> Estimate:
    data = (x, torch.zeros(len(x), dtype=torch.long))
    return measure(model, data, {NAME: options}, seed=seed, rtol=rtol)[NAME]


@pytest.mark.parametrize("radius", [0.25, 0.75])
def test_a_circle_has_its_circumference(radius: float) -> None:
    found = length(circle(radius))
    assert found.stderr < 0.02 * found.value
    assert abs(found.value - 2 * math.pi * radius) < 3 * found.stderr
    assert found.details["region"] == (-1, 1, -1, 1)
    assert found.samples == 3


def test_three_rays_that_meet_have_their_lengths_from_edge_to_edge() -> None:
    # Each class is nearest to one of three directions at equal angles, so that they meet in rays between these.
    angles = torch.tensor([90.0, 210.0, 330.0]).deg2rad()
    model = nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.stack([angles.cos(), angles.sin()], dim=1))
    found = length(model)
    # Rays at 270, 30 and 150 degrees end on the square at the distances 1, 1 / cos 30 and 1 / cos 30.
    assert abs(found.value - (1 + 2 / math.cos(math.pi / 6))) < 3 * found.stderr
    assert found.stderr < 0.01 * found.value


def test_intervals_cover() -> None:
    found = [length(circle(0.75), seed=seed, lines=6) for seed in range(60)]
    off = np.array([e.value for e in found]) - 2 * math.pi * 0.75
    stated = np.array([e.stderr for e in found])
    assert abs(off.mean()) < 3 * off.std(ddof=1) / math.sqrt(60)
    assert math.sqrt(np.mean(stated**2)) == pytest.approx(off.std(ddof=1), rel=0.25)
    # 95% by Student's t with 7 degrees of freedom: 57 of 60 expected, standard deviation 1.7.
    assert np.count_nonzero(np.abs(off) <= 2.365 * stated) >= 52


def test_the_precision_asked_is_reached_by_more_draws() -> None:
    found = length(circle(0.75), lines=6, rtol=0.003)
    assert found.converged
    assert found.stderr <= 0.003 * found.value
    assert found.details["draws"] > 8


def test_what_points_are_too_far_apart_for_is_part_of_the_error() -> None:
    stripes = Gap(lambda x: torch.sin(60 * x[:, 0]))
    # Zeros at multiples of pi / 60: 19 of them on each side of 0, and 0 itself, each a line of length 2.
    true = 2.0 * (2 * 19 + 1)
    coarse, fine = length(stripes, lines=8), length(stripes, lines=64)
    assert coarse.details["missed"] > 0.1 * true
    assert abs(coarse.value - true) < 3 * coarse.stderr
    assert fine.details["missed"] < 0.05 * true
    assert fine.value == pytest.approx(true, rel=0.01)


def test_the_region_is_what_is_given() -> None:
    found = length(circle(0.75), region=(0.0, 2.0, -2.0, 2.0))
    assert abs(found.value - math.pi * 0.75) < 3 * found.stderr
    assert found.details["region"] == (0, 2, -2, 2)
    assert length(circle(0.75), region=(1.0, 2.0, 1.0, 2.0)).value == 0


@pytest.mark.parametrize("region", [(1.0, 0.0, 0.0, 1.0), (0.0, 1.0, 1.0, 1.0), (0.0, math.inf, 0.0, 1.0)])
def test_an_empty_or_endless_region_is_refused(region: tuple[float, ...]) -> None:
    with pytest.raises(SharpscopeError, match=r"left < right and bottom < top, got|finite number, got inf"):
        length(circle(0.75), region=region)


def test_samples_on_one_line_leave_no_region() -> None:
    x = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    with pytest.raises(NotDefined, match="give the option region"):
        length(circle(0.75), x)
    assert length(circle(0.75), x, region=(-1.0, 1.0, -1.0, 1.0)).value > 4


def test_inputs_may_have_any_form_of_two_numbers() -> None:
    expected = length(circle(0.75)).value
    model = nn.Sequential(nn.Flatten(), circle(0.75))
    assert length(model, SQUARE[:, None, :]).value == expected
    data = [{"point": SQUARE, "labels": torch.zeros(3, dtype=torch.long)}]

    def forward(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        return model(inputs["point"])

    assert measure(circle(0.75), data, [NAME], forward=forward)[NAME].value == expected


def test_what_has_no_boundary_in_the_plane_is_refused() -> None:
    with pytest.raises(NotDefined, match=r"two floating-point numbers each, got float32 \(3, 3\)"):
        length(nn.Linear(3, 2), torch.randn(3, 3))
    with pytest.raises(NotDefined, match=r"got int64 \(3, 2\)"):
        length(nn.Sequential(nn.Embedding(5, 2), nn.Flatten(), nn.Linear(4, 2)), torch.ones(3, 2, dtype=torch.long))
    with pytest.raises(NotDefined, match="at least two outputs"):
        measure(nn.Linear(2, 1), (SQUARE, torch.zeros(3)), [NAME], loss="mse")
