"""What a forward pass cuts off from gradients counts the same by every route, and is told of once."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from tests import dense
from tests.cut import NETWORKS, masked, network, samples
from torch import Tensor, nn
from torch.nn import functional as F

from sharpscope import measure
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import NotDefined
from sharpscope.training.predict import predict

ROUTES: dict[str, dict[str, Any]] = {
    "gradient_norm": {"measure": "gradient_norm"},
    "fisher_rao": {"measure": "fisher_rao_norm"},
    "fisher_rao_model": {"measure": "fisher_rao_norm", "labels": "model"},
    "hessian": {"measure": "hessian_top_eigenvalue"},
    "hessian_differences": {"measure": "hessian_top_eigenvalue", "route": "differences"},
    "ggn": {"measure": "ggn_top_eigenvalue"},
    "geometric": {"measure": "information_geometric_sharpness", "samples": 12},
}


def by_autograd(model: nn.Module, data: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Return what ``ROUTES`` must find, from dense derivatives in the parameters that gradients reach."""
    with Risk(model, Batches([data])) as risk:
        loss = dense.mean_loss(risk)
        found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        reached = [p for p, g in zip(model.parameters(), found, strict=True) if g is not None]
        H = dense.hessian(risk, reached)
        gradients, theta = dense.sample_gradients(risk), dense.flat_parameters(risk)
        J = dense.output_jacobians(risk).detach()
        p = risk.outputs(next(iter(risk))).softmax(dim=1)
    A = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    G = torch.einsum("ncp,ncd,ndq->pq", J, A, J) / len(J)
    along = J @ theta
    values, vectors = torch.linalg.eigh(G)
    kept = values > 1e-6 * values[-1]
    top = float(torch.linalg.eigvalsh(H)[-1])
    return {
        "gradient_norm": float(gradients.mean(dim=0).norm()),
        "fisher_rao": float((gradients @ theta).square().mean().sqrt()),
        "fisher_rao_model": float(torch.einsum("nc,ncd,nd->n", along, A, along).mean().sqrt()),
        "hessian": top,
        "hessian_differences": top,
        "ggn": float(values[-1]),
        "geometric": float(((gradients @ vectors[:, kept]).square() / values[kept]).sum(dim=1).mean()),
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_every_route_has_the_derivatives_of_autograd_alone_and_together(name: str) -> None:
    model, data = network(name), samples(name)
    expected = by_autograd(model, data)
    for keys in (list(ROUTES), ["gradient_norm"], ["hessian"], ["fisher_rao_model"]):
        with pytest.warns(UserWarning, match="no gradient reaches") as told:
            found = measure(model, [data], {key: ROUTES[key] for key in keys})
        assert [str(w.message).split(", which")[0] for w in told] == [
            "no gradient reaches the parameters 'cut.weight', 'cut.bias'"
        ]
        assert {k: e.value for k, e in found.items()} == pytest.approx({k: expected[k] for k in keys}, rel=1e-5)


def test_it_is_told_once_whatever_is_measured_on_how_many_batches_and_groups() -> None:
    inputs, targets = samples("no_grad", 64)
    data = torch.utils.data.TensorDataset(inputs, targets)
    with pytest.warns(UserWarning, match="cuts off") as told:
        measure(network("no_grad"), data, ["gradient_norm", "worst_case_sharpness"], batch_size=8, subset=40)
    assert len(told) == 1


def test_frozen_parameters_count_and_nothing_is_said_of_them() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    data = samples("no_grad")
    before = measure(model, [data], ["gradient_norm"])["gradient_norm"].value
    model.requires_grad_(False)
    assert measure(model, [data], ["gradient_norm"])["gradient_norm"].value == before


def test_draws_move_what_is_cut_off_and_the_expansion_is_refused() -> None:
    model, data = network("no_grad"), samples("no_grad")
    theta = measure(model, [data], ["sam_sharpness"])["sam_sharpness"].value  # no derivative, so no warning
    with torch.no_grad():
        model._how = lambda layer, x: layer(x)
    assert measure(model, [data], ["sam_sharpness"])["sam_sharpness"].value == theta
    with (
        pytest.warns(UserWarning, match="no gradient reaches"),
        pytest.raises(NotDefined, match=r"cuts some off, such as 'cut\.weight'; use method='monte_carlo'"),
    ):
        measure(network("no_grad"), [data], {"sam_sharpness": {"method": "expansion"}})


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 3)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


@pytest.mark.parametrize("name", ["gradient_norm", "fisher_rao_norm", "hessian_trace", "ggn_trace"])
def test_a_model_without_any_gradient_has_no_derivatives(name: str) -> None:
    model, data = Everything().double(), samples("no_grad")
    with pytest.raises(NotDefined, match=r"no gradient in any parameter \(the forward pass runs under no_grad"):
        measure(model, [data], [name])
    assert measure(model, [data], ["sam_sharpness"])["sam_sharpness"].value > 0


class Stopped(nn.Module):
    """Gradients pass one of two branches only, so that no parameter is cut off, and forward mode would see both."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 6)
        self.second = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        with torch.no_grad():
            y = torch.tanh(self.second(x))
        return self.head(x + y + torch.tanh(self.second(x)).detach() + self.second(x))


class Reversed(torch.autograd.Function):
    """The identity with a backward pass, and a forward mode, that disagree."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -0.5 * gradient

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return tangent.clone()


class Backwards(Stopped):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(Reversed.apply(torch.tanh(self.first(x))) + self.second(torch.tanh(self.first(x))))


class Hooked(Stopped):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if x.requires_grad:
            x.register_hook(lambda gradient: 0.1 * gradient)
        return self.head(torch.tanh(self.second(x)))


@pytest.mark.parametrize("make", [Stopped, Backwards, Hooked])
def test_forward_mode_agrees_with_backward_passes_or_gives_way(make: type[nn.Module]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().double()
    data = samples("no_grad")
    with Risk(model, Batches([data])) as risk:
        gradients, theta = dense.sample_gradients(risk), dense.flat_parameters(risk)
        along = dense.output_jacobians(risk).detach() @ theta
        p = risk.outputs(next(iter(risk))).softmax(dim=1)
    A = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    found = measure(model, [data], {key: ROUTES[key] for key in ("fisher_rao", "fisher_rao_model")})
    assert found["fisher_rao"].value == pytest.approx(float((gradients @ theta).square().mean().sqrt()), rel=1e-9)
    expected = float(torch.einsum("nc,ncd,nd->n", along, A, along).mean().sqrt())
    assert found["fisher_rao_model"].value == pytest.approx(expected, rel=1e-9)


class Sorts(nn.Module):
    """Samples stand in another order inside."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        order = x.sum(dim=1).argsort()
        return self.head(torch.tanh(self.inner(x[order]))[order.argsort()])


class Hidden(torch.autograd.Function):
    """A linear layer of its own, inside which functions run without gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return gradient @ weight, gradient.T @ x


class Hides(Sorts):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(Hidden.apply(x, self.inner.weight) + self.inner.bias))


class HidesHalf(Sorts):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(Hidden.apply(x, self.inner.weight) + self.inner(x)))


@pytest.mark.parametrize("split", [(12,), (1, 11), (5, 7)])
@pytest.mark.parametrize("make", [Sorts, Hides, HidesHalf])
def test_what_operations_do_not_account_for_is_found_out(make: type[nn.Module], split: tuple[int, ...]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().double()
    inputs, targets = samples("no_grad")
    data = list(zip(inputs.split(split), targets.split(split), strict=True))
    with Risk(model, Batches(data)) as risk:
        expected = (dense.sample_gradients(risk) @ dense.flat_parameters(risk)).square().mean().sqrt()
    found = measure(model, data, ["fisher_rao_norm"])["fisher_rao_norm"]
    assert found.value == pytest.approx(float(expected), rel=1e-9)
    assert found.details["route"] == "forward_mode"


class Chooses(nn.Module):
    """Computes something else where gradients are on."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x) * (2.0 if torch.is_grad_enabled() else 1.0)


def test_a_model_that_computes_something_else_with_gradients_is_refused() -> None:
    model, data = Chooses().double(), samples("no_grad")
    alone = measure(model, [data], ["sam_sharpness"])["sam_sharpness"].value
    with pytest.raises(NotDefined, match=r"computes something else where gradients are on \(outputs differ by"):
        measure(model, [data], ["gradient_norm"])
    with pytest.warns(UserWarning, match="left out of the default measures: .*computes something else"):
        assert "relative_flatness" in measure(model, [data])
    linear = model.head
    model = nn.Sequential(linear)
    assert measure(model, [data], ["sam_sharpness"])["sam_sharpness"].value == alone


class LooksAtTheRest(nn.Module):
    """Computes something else with gradients, but not for the first samples."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        doubled = torch.is_grad_enabled() and len(x) > 4
        return self.head(x) * (2.0 if doubled else 1.0)


def test_changes_of_the_loss_are_from_what_the_same_pass_computes() -> None:
    with pytest.raises(NotDefined, match="computes something else where gradients are on"):
        measure(LooksAtTheRest().double(), [samples("no_grad")], ["sam_sharpness", "gradient_norm"])


def test_transformers_are_measured_and_predict_as_they_are_trained() -> None:
    """Padded positions, which PyTorch's fast path sets to zero, are averaged over."""
    model, (ids, targets) = masked()
    trained = model(ids).detach()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fast path warns of its nested tensors
        assert float((model(ids) - trained).abs().max()) > 0.1
    torch.testing.assert_close(predict(model, ids, lambda x: x), trained)
    loss = F.cross_entropy(trained, targets, reduction="none")
    found = measure(model, [(ids, targets)], {"losses": {"measure": "information_geometric_sharpness"}})["losses"]
    assert found.details["loss_form"] == pytest.approx(float(loss.expm1().sum()), rel=1e-9)
    assert torch.backends.mha.get_fastpath_enabled()
    # To first order, the mean change over rho is the gradient norm times sqrt(2 / (pi P)).
    found = measure(model, [(ids, targets)], ["sam_sharpness", "gradient_norm"])
    P = sum(p.numel() for p in model.parameters())
    slope = found["gradient_norm"].value * math.sqrt(2 / (math.pi * P))
    assert found["sam_sharpness"].value == pytest.approx(slope, abs=4 * found["sam_sharpness"].stderr)


class Energy(nn.Module):
    """Its outputs are derivatives in its input, for which gradients must be on."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(torch.tanh(self.body(x)).square().sum(), x, create_graph=True)[0]


def test_a_model_that_needs_gradients_to_be_on_has_derivatives() -> None:
    model, x = Energy().double(), torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with Risk(model, Batches([(x, torch.arange(6) % 3)])) as risk:
        expected = dense.sample_gradients(risk).mean(dim=0).norm()
    assert measure(model, (x, torch.arange(6) % 3), ["gradient_norm"])["gradient_norm"].value == pytest.approx(
        float(expected), rel=1e-9
    )


class Unused(nn.Module):
    """Convolutions, which are evaluated with the channels last, and a layer that nothing depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.Tanh(), nn.Conv2d(32, 32, 3, padding=1))
        self.head = nn.Linear(32, 3)
        self.spare = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(dim=(2, 3)))


def test_a_layer_that_is_not_used_is_none_that_is_cut_off_whatever_rounding_the_layout_makes() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = Unused(), torch.randn(8, 16, 9, 9)
    contiguous = model(x).detach()
    assert not torch.equal(model.to(memory_format=torch.channels_last)(x), contiguous)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert measure(model, (x, torch.arange(8) % 3), ["gradient_norm"])["gradient_norm"].value > 0


class Lends(nn.Module):
    """Returns a buffer that it writes its outputs to, without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 3)
        self.out = torch.zeros(12, 3, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return self.head(x)
        return self.out[: len(x)].copy_(self.head(x))


def test_outputs_that_a_model_keeps_and_writes_to_again_are_measured() -> None:
    data = samples("no_grad")
    model = Lends().double()
    found = measure(model, [data], ["gradient_norm"])["gradient_norm"].value
    assert found == measure(nn.Sequential(model.head), [data], ["gradient_norm"])["gradient_norm"].value
    assert not model.out.any()
