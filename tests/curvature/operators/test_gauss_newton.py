"""Gauss-Newton products by kept graphs, and what happens where these cannot serve."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests import dense
from torch import Tensor, nn
from torch.nn import functional as F

from sharpscope.curvature.operators import GaussNewton, Products, Space
from sharpscope.curvature.passes import Evaluator
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import NotDefined
from sharpscope.measurement import measure_risk


class Once(torch.autograd.Function):
    """x^2 whose backward is not differentiable again; it has a forward mode."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.square()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * gradient

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * tangent


class Hidden(Once):
    """x^2 whose backward goes through NumPy, so that its second derivative lacks terms without a word."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * torch.from_numpy(gradient.detach().numpy())


class Squared(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


class Behind(nn.Module):
    """A layer under no_grad, which forward mode does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.layer(x).tanh()


class FrozenStatistics(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.view(-1, 1, 5, 1).expand(-1, 2, 5, 4))


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    layers: dict[str, Any] = {
        "tanh": lambda: [nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)],
        "weight norm": lambda: [nn.utils.parametrizations.weight_norm(nn.Linear(5, 6)), nn.Tanh(), nn.Linear(6, 3)],
        "layer norm": lambda: [nn.Linear(5, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3)],
        "unused": lambda: [Behind(), nn.Linear(6, 3)],
        "once": lambda: [nn.Linear(5, 6), Squared(Once), nn.Linear(6, 3)],
        "hidden": lambda: [nn.Linear(5, 6), Squared(Hidden), nn.Linear(6, 3)],
    }
    if name == "convolution":
        parts = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.BatchNorm2d(3), nn.Flatten()]
        return FrozenStatistics(*parts).double()
    return nn.Sequential(*layers[name]()).double()


FORWARD = {"once", "hidden"}


@pytest.mark.filterwarnings("ignore:no gradient reaches")  # what lies behind no_grad
@pytest.mark.parametrize("name", ["tanh", "weight norm", "layer norm", "unused", "convolution", "once", "hidden"])
def test_products_are_those_of_the_backward_pass_by_the_route_that_is_told(name: str) -> None:
    with torch.random.fork_rng():
        model = network(name)
        data = (torch.randn(7, 5, dtype=torch.float64), torch.randint(0, 3, (7,)))
    with Risk(model.eval(), Batches(data, batch_size=4)) as risk:
        jacobians = dense.output_jacobians(risk).detach()
        outputs = torch.cat([risk.outputs(batch).detach() for batch in risk])
        curvature = risk.loss.hessian(outputs, data[1])
        expected = torch.einsum("ncp,nce,neq->pq", jacobians, curvature, jacobians) / 7
        operator = GaussNewton(Space(risk))
        vectors = torch.randn(2, len(expected), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        products = Products(operator, vectors)
        Evaluator(risk).run({"": [products]})
    torch.testing.assert_close(products.value, vectors @ expected, rtol=1e-9, atol=1e-12)
    assert operator.route == ("forward_mode_and_backward" if name in FORWARD else "double_backward")
    assert bool(operator.reason) == (name in FORWARD)


class Wrong(Hidden):
    """x^2 whose forward mode is wrong too."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return 3 * ctx.saved_tensors[0] * tangent


def test_a_model_whose_derivatives_contradict_each_other_is_refused() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 6), Squared(Wrong), nn.Linear(6, 3)).double()
        data = (torch.randn(7, 5, dtype=torch.float64), F.one_hot(torch.arange(7) % 3).argmax(1))
    with Risk(model, Batches(data)) as risk:
        space = Space(risk)
        products = Products(GaussNewton(space), torch.arange(space.size)[None].double().cos())
        with pytest.raises(NotDefined, match="as its backward pass says"):
            Evaluator(risk).run({"": [products]})


def test_what_shares_refused_products_is_refused_as_well() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 6), Squared(Wrong), nn.Linear(6, 3)).double()
        data = (torch.randn(7, 5, dtype=torch.float64), F.one_hot(torch.arange(7) % 3).argmax(1))
    with Risk(model, Batches(data)) as risk:
        asked = ["ggn_trace", "ggn_frobenius_norm", "gradient_norm"]
        found = measure_risk(risk, asked, noted=(NotDefined,))
    assert list(found) == ["gradient_norm"]
    assert set(found.failed) == {"ggn_trace", "ggn_frobenius_norm"}
