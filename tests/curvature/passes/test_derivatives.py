"""Models whose derivatives are hard to take have the right ones, or are refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.cases import CASES
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from sharpscope import measure
from sharpscope.errors import NotDefined, SharpscopeError


def test_a_shuffled_loader_gives_the_same_eigenvalue() -> None:
    case = CASES[2]
    inputs, targets = case.data((12,))[0]
    loader = DataLoader(TensorDataset(inputs, targets), 5, shuffle=True)
    found = measure(case.model(), loader, ["hessian_top_eigenvalue"])["hessian_top_eigenvalue"]
    fixed = measure(case.model(), case.data((12,)), ["hessian_top_eigenvalue"])["hessian_top_eigenvalue"]
    assert found.value == pytest.approx(fixed.value, rel=1e-9)


class Once(torch.autograd.Function):
    """The tangent hyperbolic, with a backward pass that says that it cannot be differentiated again."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        outputs = inputs.tanh()
        ctx.save_for_backward(outputs)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (outputs,) = ctx.saved_tensors
        return gradient * (1 - outputs.square())


class Activated(nn.Module):
    """A hidden layer with an activation."""

    def __init__(self, activation: Any) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(5, 4), nn.Linear(4, 3)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.activation(self.body(x)))


def test_an_operation_that_can_be_differentiated_once_has_differences_and_no_tangent() -> None:
    """Autograd leaves its terms out without a word."""
    once, plain = Activated(Once.apply).double(), Activated(torch.tanh).double()
    once.load_state_dict(plain.state_dict())
    data = (torch.randn(20, 5, dtype=torch.float64), torch.arange(20) % 3)
    options = {"hessian_trace": {"sketch": 39}}
    found, expected = (measure(model, data, options)["hessian_trace"] for model in (once, plain))
    assert found.details["route"] == "central_differences"
    assert "not implemented" in found.details["route_reason"]
    assert found.value == pytest.approx(expected.value, rel=1e-5)
    for name, given in (("ggn_trace", {}), ("fisher_rao_norm", {"labels": "model"})):
        with pytest.raises(NotDefined, match="neither forward mode nor a second derivative"):
            measure(once, data, {name: given})


class Forces(nn.Module):
    """Minus the gradient of an energy in the inputs, as potentials of molecules have it."""

    def __init__(self, *, convolution: bool) -> None:
        super().__init__()
        self.weight, self.out = nn.Parameter(torch.randn(4, 1, 3)), nn.Linear(4, 1, bias=False)
        self._convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            if self._convolution:
                hidden = nn.functional.conv1d(x[:, None], self.weight, padding=1)
            else:
                hidden = torch.einsum("btk,ok->bot", nn.functional.pad(x, (1, 1)).unfold(1, 3, 1), self.weight[:, 0])
            energy = self.out(hidden.tanh().mean(dim=2)).sum()
            return -torch.autograd.grad(energy, x, create_graph=True)[0]


def test_a_model_that_differentiates_in_its_forward_pass_has_its_own_derivatives() -> None:
    fast, plain = Forces(convolution=True).double(), Forces(convolution=False).double()
    fast.load_state_dict(plain.state_dict())
    data = (torch.randn(20, 5, dtype=torch.float64), torch.randn(20, 5, dtype=torch.float64))
    asked = {"hessian_trace": {"sketch": 16}, "ggn_trace": {"sketch": 16}, "gradient_norm": {}, "fisher_rao_norm": {}}
    found, expected = (measure(model, data, asked, loss="mse") for model in (fast, plain))
    for name in asked:
        assert found[name].value == pytest.approx(expected[name].value, rel=1e-9), name


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_model_that_computes_activations_again_is_refused(reentrant: bool) -> None:
    class Checkpointed(Activated):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(checkpoint(self.activation, self.body(x), use_reentrant=reentrant))

    data = (torch.randn(20, 5), torch.arange(20) % 3)
    for name in ("gradient_norm", "hessian_trace", "fisher_rao_norm"):
        with pytest.raises(SharpscopeError, match=r"activation checkpointing.*switch that off"):
            measure(Checkpointed(torch.tanh), data, [name])
    if not reentrant:  # of which PyTorch itself warns where nothing is differentiated
        assert measure(Checkpointed(torch.tanh), data, ["margin"])["margin"].samples == 20


def test_shared_products_share_their_error() -> None:
    """What is asked for beside it cannot change how far a value is to be trusted."""
    case = CASES[0]
    options = {"hessian_trace": {"route": "differences"}, "hessian_frobenius_norm": {"route": "differences"}}
    together = measure(case.model(), case.data((12,)), options)["hessian_frobenius_norm"]
    alone = measure(case.model(), case.data((12,)), {"hessian_frobenius_norm": {"route": "differences"}})
    assert alone["hessian_frobenius_norm"] == together
