"""Second derivatives are right, or found out to be wrong: a second backward pass that does not raise proves nothing."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from sharpscope import measure
from sharpscope.curvature.operators.second_derivatives import verdict_on
from sharpscope.curvature.operators.symmetry import Symmetry
from sharpscope.curvature.passes.graph import Graph
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import NotDefined


def hook_of_old(module: nn.Module, dim: int | None) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(module, dim=dim)  # type: ignore[arg-type]


def parametrized(module: nn.Module, dim: int | None) -> nn.Module:
    return parametrizations.weight_norm(module, dim=dim)  # type: ignore[arg-type]


def images(module: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (1, 2, 3)), module, nn.Tanh(), nn.Flatten(), nn.Linear(12, 3))


def seeded(make: Callable[[], nn.Module], dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().to(dtype).eval()


def samples(dtype: torch.dtype = torch.float64, count: int = 20, width: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, width, generator=generator, dtype=dtype), torch.arange(count) % 3


def hessian_by_differences(model: nn.Module, data: tuple[Tensor, Tensor]) -> Tensor:
    """Return the Hessian of the mean cross-entropy, column by column, from gradients alone."""
    inputs, targets = data
    parameters = list(model.parameters())
    theta = torch.nn.utils.parameters_to_vector(parameters).detach()

    def gradient(at: Tensor) -> Tensor:
        torch.nn.utils.vector_to_parameters(at, parameters)
        found = torch.autograd.grad(F.cross_entropy(model(inputs), targets), parameters)
        return torch.cat([g.reshape(-1) for g in found])

    step = 1e-5
    columns = [gradient(theta + step * e) - gradient(theta - step * e) for e in torch.eye(len(theta)).to(theta)]
    torch.nn.utils.vector_to_parameters(theta, parameters)
    return torch.stack(columns, dim=1) / (2 * step)


WEIGHT_NORMED: dict[str, Callable[[Any, int | None], nn.Module]] = {
    "linear": lambda norm, dim: nn.Sequential(norm(nn.Linear(6, 3), dim), nn.Tanh(), nn.Linear(3, 3)),
    "head": lambda norm, dim: nn.Sequential(nn.Linear(6, 3), nn.Tanh(), norm(nn.Linear(3, 3), dim)),
    "convolution": lambda norm, dim: images(norm(nn.Conv2d(1, 2, 3, padding=1), dim)),
}


@pytest.mark.parametrize("norm", [hook_of_old, parametrized])
@pytest.mark.parametrize(("kind", "dim"), [("linear", 0), ("linear", 1), ("head", None), ("convolution", 0)])
def test_weight_normalization_is_differentiated_rightly(norm: Any, kind: str, dim: int | None) -> None:
    model = seeded(lambda: WEIGHT_NORMED[kind](norm, dim))
    truth = hessian_by_differences(model, samples())
    options: dict[str, Any] = {"hessian_trace": {"sketch": len(truth)}, "hessian_top_eigenvalue": {}}
    found = measure(model, samples(), options, rtol=1e-5)
    assert found["hessian_trace"].value == pytest.approx(float(truth.trace()), rel=1e-6)
    assert found["hessian_top_eigenvalue"].value == pytest.approx(float(torch.linalg.eigvalsh(truth)[-1]), rel=1e-5)
    for estimate in found.values():
        assert estimate.details["route"] == "double_backward"
        assert "route_reason" not in estimate.details


class ByNumPy(torch.autograd.Function):
    """tanh, computed outside of autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        outputs = torch.from_numpy(np.tanh(x.detach().numpy()))
        ctx.save_for_backward(outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (outputs,) = ctx.saved_tensors
        return torch.from_numpy(gradient.detach().numpy() * (1 - outputs.detach().numpy() ** 2))


class KeepsAnIntermediate(torch.autograd.Function):
    """x sigmoid(x), with the sigmoid kept without its graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.sigmoid = x.sigmoid()
        ctx.save_for_backward(x)
        return x * ctx.sigmoid

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * ctx.sigmoid * (1 + x * (1 - ctx.sigmoid))


class ByData(torch.autograd.Function):
    """x sigmoid(x), whose backward pass looks at data alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x = ctx.saved_tensors[0].data
        return gradient * x.sigmoid() * (1 + x * (1 - x.sigmoid()))


class Applied(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


WRONG: dict[str, Callable[[Tensor], Tensor]] = {
    "NumPy": ByNumPy.apply,
    "kept": KeepsAnIntermediate.apply,
    "data": ByData.apply,
}


def network(functions: list[Callable[[Tensor], Tensor]]) -> nn.Module:
    layers = [part for f in functions for part in (nn.Linear(6, 6), Applied(f))]
    return nn.Sequential(*layers, nn.Linear(6, 3))


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_second_derivative_has_differences_in_its_place(name: str) -> None:
    model = seeded(lambda: network([WRONG[name]]))
    truth = hessian_by_differences(model, samples())
    asked: dict[str, Any] = {
        "hessian_trace": {"sketch": len(truth)},
        "hessian_top_eigenvalue": {},
        "hessian_frobenius_norm": {"sketch": len(truth)},
        "flatness": {"measure": "relative_flatness", "layer": "0", "normalize": False},
    }
    found = measure(model, samples(), asked)
    expected = {"hessian_trace": truth.trace(), "hessian_top_eigenvalue": torch.linalg.eigvalsh(truth)[-1]}
    for key, value in {**expected, "hessian_frobenius_norm": truth.norm()}.items():
        assert found[key].value == pytest.approx(float(value), rel=1e-4), key
    for estimate in found.values():
        assert estimate.details["route"] == "central_differences"
        assert "second derivative of an operation is wrong" in estimate.details["route_reason"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("place", [0, 7])
def test_one_wrong_operation_among_many_is_found_out(place: int, name: str, dtype: torch.dtype) -> None:
    """Eight layers of the usual initialization: what the first adds to a product is a millionth of it."""
    functions: list[Callable[[Tensor], Tensor]] = [torch.relu if i % 2 else F.gelu for i in range(8)]
    functions[place] = WRONG[name]
    assert verdict(seeded(lambda: network(functions), dtype), samples(dtype)).wrong


def verdict(model: nn.Module, data: tuple[Tensor, Tensor]) -> Any:
    with Risk(model, Batches(data)) as risk:
        return verdict_on(risk, next(iter(risk)), list(risk.parameters))


class SingleInside(nn.Module):
    """Works in single precision whatever its parameters have."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(F.linear(x.float(), self.body.weight.float(), self.body.bias.float()))
        return self.head(hidden.to(x.dtype))


def zero_biases() -> nn.Module:
    """Every unit at its kink where the inputs are zero."""
    model = nn.Sequential(*(part for _ in range(4) for part in (nn.Linear(6, 6), nn.ReLU())), nn.Linear(6, 3))
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.zeros_(parameter)
    return model


def saturated() -> nn.Module:
    """Right beyond the digits of the softmax."""
    model = nn.Sequential(nn.Linear(6, 30), nn.ReLU(), nn.Linear(30, 3))
    for parameter in model.parameters():
        parameter.data *= 30
    return model


RIGHT: dict[str, Callable[[], nn.Module]] = {
    "zero biases": zero_biases,
    "deep": lambda: nn.Sequential(*(p for _ in range(30) for p in (nn.Linear(6, 6), nn.ReLU())), nn.Linear(6, 3)),
    "saturated": saturated,
    "single precision inside": SingleInside,
    "pooling": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 6)),
        nn.Conv1d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Flatten(),
        nn.Linear(24, 3),
    ),
    "norm": lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)),
    "linear": lambda: nn.Linear(6, 3),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", RIGHT)
def test_right_second_derivatives_give_no_alarm(name: str, dtype: torch.dtype) -> None:
    for seed in range(3):
        inputs, targets = samples(dtype)
        found = verdict(seeded(RIGHT[name], dtype, seed), (inputs.clamp_min(0), targets))
        assert (found.wrong, found.reason) == (False, "")


class Rounding(nn.Module):
    """A straight-through estimator: gradients that no loss has."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x)
        return self.head(hidden + (hidden.sign() * hidden.square() - hidden).detach())


def test_gradients_that_no_loss_has_are_refused() -> None:
    for name in ("hessian_trace", "hessian_top_eigenvalue", "hessian_density"):
        with pytest.raises(NotDefined, match=r"not symmetric.*straight-through"):
            measure(seeded(Rounding), samples(), [name])


def check_all(vectors: Tensor, matrix: Tensor, block: int) -> None:
    symmetry = Symmetry()
    for part in vectors.split(block):
        symmetry.check(part, part @ matrix)


def test_symmetry_is_seen_between_blocks_and_within() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix, vectors = torch.randn(50, 50, generator=generator), torch.randn(4, 50, generator=generator)
    symmetric = matrix + matrix.T
    for block in (4, 1):
        check_all(vectors, symmetric, block)
        with pytest.raises(NotDefined, match="not symmetric"):
            check_all(vectors, matrix, block)
    # Of 2 (u^T A v) = 2 (v^T A u) nothing is left where A v is all rounding.
    null = torch.zeros(50, 50).index_put((torch.tensor(0), torch.tensor(0)), torch.tensor(1.0))
    noise = 1e-7 * torch.randn(4, 50, generator=generator)
    Symmetry().check(vectors, vectors @ null + noise)


def test_a_tangent_without_its_derivative_is_refused() -> None:
    """Without forward mode it is the derivative of a backward pass in its cotangent, which NumPy hides."""
    for name, options in (("ggn_trace", {}), ("fisher_rao_norm", {"labels": "model"})):
        with pytest.raises(NotDefined, match="as its backward pass says"):
            measure(seeded(lambda: network([ByNumPy.apply])), samples(), {name: options})
    found = measure(seeded(lambda: network([ByData.apply])), samples(), {"ggn_trace": {"sketch": 63}})["ggn_trace"]
    plain = measure(seeded(lambda: network([F.silu])), samples(), {"ggn_trace": {"sketch": 63}})["ggn_trace"]
    assert found.value == pytest.approx(plain.value, rel=1e-9)


def test_the_check_is_made_once_for_all_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[int] = []
    made = Graph.__init__

    def counted(self: Graph, risk: Risk, batch: Any) -> None:
        graphs.append(batch.size)
        made(self, risk, batch)

    monkeypatch.setattr(Graph, "__init__", counted)
    model = seeded(lambda: network([F.gelu]), torch.float32)
    found = measure(model, samples(torch.float32), ["hessian_trace", "hessian_top_eigenvalue", "hessian_density"])
    assert graphs == [20, 4]
    assert all(math.isfinite(e.value) for e in found.values())
