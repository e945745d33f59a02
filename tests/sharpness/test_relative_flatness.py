"""Relative flatness where features hardly vary, are many, or their head's weight has other uses."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn

from sharpscope import Estimate, measure
from sharpscope.sharpness import relative_flatness as module


def nearly_dead(scale: float) -> tuple[nn.Sequential, tuple[Tensor, Tensor]]:
    """Return a network whose first feature hardly moves, and data; in single precision."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(20, 16), nn.Sigmoid(), nn.Linear(16, 3))
        data = torch.randn(512, 20), torch.randint(0, 3, (512,))
    with torch.no_grad():
        net[0].weight[0] *= scale
        net[0].bias[0] = 2.0
    return net, data


def kappa(net: nn.Module, x: Tensor, y: Tensor, batch_size: int = 512, **options: object) -> Estimate:
    return measure(net, (x, y), {"relative_flatness": options}, batch_size=batch_size)["relative_flatness"]


@pytest.mark.parametrize("scale", [1e-9, 1e-7, 1e-6])
def test_a_feature_that_only_rounding_moves_is_constant(scale: float) -> None:
    net, (x, y) = nearly_dead(scale)
    dead, _ = nearly_dead(0.0)
    expected = kappa(copy.deepcopy(dead).double(), x.double(), y).value
    for batch_size in (512, 7, 1):
        found = kappa(net, x, y, batch_size)
        assert found.details["constant_features"] == [0]
        assert found.value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("scale", [1e-4, 1e-3])
def test_a_feature_that_moves_by_more_than_rounding_counts_and_shows_its_share(scale: float) -> None:
    net, (x, y) = nearly_dead(scale)
    found = kappa(net, x, y)
    assert "constant_features" not in found.details
    assert found.details["largest_share"] > 0.999
    assert found.value == pytest.approx(kappa(net.double(), x.double(), y).value, rel=1e-3)


def test_the_largest_share_is_that_of_one_feature() -> None:
    net, (x, y) = nearly_dead(1.0)
    net, x = net.double(), x.double()
    found = kappa(net, x, y)
    with torch.no_grad():
        phi = net[1](net[0](x))
        p = net(x).softmax(dim=1)
        W, variance = net[2].weight.detach(), phi.var(dim=0, correction=0)
    A = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    along = torch.einsum("cd,nce,ed->nd", W, A, W) @ variance
    shares = (phi.square() / variance * along[:, None]).mean(dim=0)
    assert found.value == pytest.approx(float(shares.sum()), rel=1e-12)
    assert found.details["largest_share"] == pytest.approx(float(shares.max() / shares.sum()), rel=1e-12)


def test_which_features_are_constant_does_not_depend_on_their_scale() -> None:
    net, (x, y) = nearly_dead(1e-7)
    expected = kappa(net, x, y)
    factors = 10.0 ** torch.linspace(-6, 6, 16)

    class Rescaled(nn.Module):
        def forward(self, phi: Tensor) -> Tensor:
            return phi * factors

    with torch.no_grad():
        net[2].weight /= factors
    found = kappa(nn.Sequential(net[0], net[1], Rescaled(), net[2]), x, y)
    assert found.details["constant_features"] == expected.details["constant_features"] == [0]
    assert found.value == pytest.approx(expected.value, rel=1e-5)


@pytest.mark.parametrize("width", [16, 512])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_features_of_equal_samples_are_constant_however_they_are_cut(activation: type[nn.Module], width: int) -> None:
    """Kernels take sums in another order for other batches, and some features are small rests of their sums."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(20, width), activation(), nn.Linear(width, width), activation())
        net.append(nn.Linear(width, 3))
        x, y = torch.randn(1, 20).repeat(33, 1), torch.randint(0, 3, (33,))
    for batch_size in (33, 8, 7, 1):
        found = kappa(net, x, y, batch_size)
        assert found.value == 0
        assert not found.converged
        assert "all features are constant" in found.details["reason"]
        assert not kappa(net, x, y, batch_size, variant="max_eigenvalue").converged
    assert not kappa(net, x[:1], y[:1]).converged
    assert kappa(net, x[:1], y[:1], normalize=False).converged


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_many_features_take_a_second_pass_instead_of_sums_over_pairs(
    loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, (x, y) = nearly_dead(0.0)
    net, x = net.double(), x.double()
    target = y if loss == "cross_entropy" else torch.randn(512, 3, dtype=torch.float64)
    passes = 0

    def forward(model: nn.Module, inputs: Tensor) -> Tensor:
        nonlocal passes
        passes += len(inputs) == 512
        return model(inputs)

    found = []
    for most in (16, 15):
        monkeypatch.setattr(module, "_MOST_PAIRED", most)
        passes = 0
        found.append(
            measure(net, (x, target), ["relative_flatness"], loss=loss, forward=forward, batch_size=512)[
                "relative_flatness"
            ]
        )
        assert passes == (1 if most == 16 else 2)
    paired, unpaired = found
    assert unpaired.value == pytest.approx(paired.value, rel=1e-12)
    assert unpaired.details["constant_features"] == [0]
    assert unpaired.details["largest_share"] == pytest.approx(paired.details["largest_share"], rel=1e-12)
    assert unpaired.samples == 512


def test_the_default_measures_do_with_many_features() -> None:
    """Sums over their pairs would take 90 GB."""
    x, y = torch.randn(4, 150_528, generator=torch.Generator().manual_seed(0)), torch.arange(4) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert measure(nn.Linear(150_528, 2), (x, y))["relative_flatness"].value > 0


class TiedHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.head = nn.Linear(3, 3)
        self.head.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.first(x)))


def test_a_head_that_shares_its_weight_is_taken_at_its_own_use_of_it() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tied = TiedHead().double()
        x, y = torch.randn(9, 3, dtype=torch.float64), torch.arange(9) % 3
    free = copy.deepcopy(tied)
    free.head.weight = nn.Parameter(tied.head.weight.detach().clone())
    found, expected = kappa(tied, x, y), kappa(free, x, y)
    assert found.value == expected.value
    assert found.details["shared_with"] == ["first"]
    assert "shared_with" not in expected.details
