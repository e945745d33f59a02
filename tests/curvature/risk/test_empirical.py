"""A risk that is no function of the parameters is refused; what it borrows from the model it gives back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharpscope import measure
from sharpscope.curvature.measure import MEASURES, Steps, run_together
from sharpscope.curvature.passes.reductions import Count
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import NotDefined, NotDeterministic, SharpscopeError, UnknownName

X = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(10) % 2
CLOSED = ["gradient_norm", "fisher_rao_norm", "fisher_rao_norm_analytic", "relative_flatness", "margin"]


class AlwaysDropped(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.5, training=True)


class StuckInTraining(nn.BatchNorm1d):
    def train(self, mode: bool = True) -> StuckInTraining:
        return super().train(True)


class Counting(nn.Linear):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * self.calls


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (AlwaysDropped(3, 2), "random numbers in eval mode.*dropout"),
        (nn.Sequential(StuckInTraining(3), nn.Linear(3, 2)), "BatchNorm '0'.*each batch"),
        (nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 2)), "BatchNorm '0'.*each batch"),
        (Counting(3, 2), "changes its buffer 'calls'"),
    ],
    ids=["dropout", "BatchNorm in train mode", "BatchNorm without statistics", "buffer"],
)
def test_a_model_that_is_no_function_is_refused(model: nn.Module, message: str, name: str) -> None:
    with pytest.raises(NotDeterministic, match=message):
        measure(model, (X, Y), [name])


class Growing:
    """Data with one batch more in every pass."""

    def __init__(self) -> None:
        self.passes = 0

    def __iter__(self) -> Any:
        self.passes += 1
        return iter([(X, Y)] * self.passes)


class Drifting(Growing):
    """Data with other samples in every pass."""

    def __iter__(self) -> Any:
        self.passes += 1
        return iter([(X * self.passes, Y)])


@pytest.mark.parametrize(
    ("data", "message"), [(Growing(), "10 samples.*20"), (Drifting(), "mean loss was .* fixed data")]
)
def test_data_that_changes_between_passes_is_refused(data: Any, message: str) -> None:
    risk = Risk(nn.Linear(3, 2), Batches(data))
    gradient_norm = MEASURES["gradient_norm"]
    gradient_norm(risk)
    with pytest.raises(NotDeterministic, match=message):
        gradient_norm(risk)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda f: f[:, :, None], r"\(10, C\), got \(10, 2, 1\)"),
        (lambda f: f.sum(), r"got \(\)"),
        (lambda f: f.T, r"got \(2, 10\)"),
        (lambda f: "text", "got str"),
        (lambda f: (), "got tuple"),
        (lambda f: {"scores": f}, "got dict"),
    ],
)
def test_outputs_must_be_a_matrix(outputs: Any, message: str) -> None:
    with pytest.raises(SharpscopeError, match=message):
        measure(nn.Linear(3, 2), (X, Y), ["gradient_norm"], forward=lambda model, x: outputs(model(x)))


@pytest.mark.parametrize(
    "outputs",
    [lambda f: (f, None), lambda f: {"logits": f}, lambda f: [f, f], lambda f: type("Out", (), {"logits": f})()],
)
def test_logits_are_taken_from_what_holds_them(outputs: Any) -> None:
    model = nn.Linear(3, 2)
    found = measure(model, (X, Y), CLOSED, forward=lambda model, x: outputs(model(x)))
    expected = measure(model, (X, Y), CLOSED)
    assert {name: e.value for name, e in found.items()} == {name: e.value for name, e in expected.items()}


def test_a_single_output_may_be_a_vector() -> None:
    model = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
    values = X.sum(dim=1)
    found = measure(model, (X, values), ["gradient_norm"], loss="mse")["gradient_norm"]
    residual = 2 * (model(X).detach() - values) / 10
    expected = torch.stack([*(residual @ X), residual.sum()]).norm()
    assert found.value == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("model", "message"), [(nn.ReLU(), "ReLU has no parameters"), (nn.LazyLinear(2), "'weight' is not initialized")]
)
def test_a_model_without_parameters_is_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(SharpscopeError, match=message):
        measure(model, (X, Y), ["gradient_norm"])


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_rtol_must_be_positive() -> None:
    with pytest.raises(SharpscopeError, match="rtol must be a positive number"):
        measure(nn.Linear(3, 2), (X, Y), ["gradient_norm"], rtol=0.0)


def test_a_risk_entered_twice_gives_the_mode_back() -> None:
    model = nn.Linear(3, 2).train()
    with Risk(model, Batches((X, Y))) as risk:
        MEASURES["gradient_norm"](risk)
        assert not model.training, "still within the outer context"
    assert model.training


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", [*CLOSED, "sam_sharpness"])
def test_a_value_that_is_not_finite_has_not_converged_and_harms_no_other(name: str, broken: float) -> None:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight[0, 0] = broken
    found = measure(model, (X, Y), {name: {}, "count": {"measure": "parameter_norm"}})
    assert not found[name].converged
    assert "not finite" in found[name].details["reason"]
    assert found["count"].samples == 10


def test_one_class_is_flat_everywhere() -> None:
    """One class only: the loss is 0 everywhere, and so is its curvature."""
    found = measure(nn.Linear(3, 1), (X, torch.zeros(10, dtype=torch.long)), CLOSED[:-1])
    assert all(estimate.value == 0 for estimate in found.values())
    with pytest.raises(SharpscopeError, match=r"margin: .*at least two outputs"):
        measure(nn.Linear(3, 1), (X, torch.zeros(10, dtype=torch.long)), ["margin"])


def test_inputs_that_a_model_overwrites_are_the_users_no_more() -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.mul_(2).sub_(1))

    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    data = (x.clone(), torch.tensor([0, 1, 0, 1, 1, 0]))
    model = Overwriting()
    found = measure(model, data, ["fisher_rao_norm", "gradient_norm", "sam_sharpness"])
    assert torch.equal(data[0], x)
    plain = measure(model.head, (x * 2 - 1, data[1]), ["fisher_rao_norm", "gradient_norm", "sam_sharpness"])
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(plain[name].value, rel=1e-5)


class OverBatch(nn.Linear):
    """Takes the mean of the batch off, without any BatchNorm."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(dim=0))


@pytest.mark.parametrize("name", CLOSED)
def test_samples_that_depend_on_each_other_make_a_risk_of_one_batch_only(name: str) -> None:
    model = OverBatch(3, 2)
    assert measure(model, (X, Y), [name])[name].samples == len(X)
    with pytest.raises(NotDeterministic, match=r"depend on the other samples.*one batch"):
        measure(model, (X, Y), [name], batch_size=5)


def test_a_model_that_writes_its_parameters_is_refused() -> None:
    class Writing(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                self.bias.add_(1)
            return super().forward(x)

    with pytest.raises(NotDeterministic, match="changes its parameter 'bias'"):
        measure(Writing(3, 2), (X, Y), ["margin"])
    model = nn.Sequential(nn.Embedding(9, 4, max_norm=0.1), nn.Flatten(), nn.Linear(8, 2))
    before = model[0].weight.detach().clone()
    with pytest.raises(NotDeterministic, match=r"embedding '0' rescales its weights.*max_norm"):
        measure(model, (torch.randint(0, 9, (10, 2)), Y), ["margin"])
    assert torch.equal(model[0].weight, before)


def test_gradients_of_embeddings_are_those_of_the_loss() -> None:
    plain, scaled = (
        nn.Sequential(nn.Embedding(9, 4, **options), nn.Flatten(), nn.Linear(8, 2))
        for options in ({}, {"sparse": True, "scale_grad_by_freq": True})
    )
    scaled.load_state_dict(plain.state_dict())
    data = (torch.arange(20).view(10, 2) % 3, Y)
    names = ["gradient_norm", "fisher_rao_norm", "hessian_trace"]
    assert {**measure(scaled, data, names)} == {**measure(plain, data, names)}
    assert scaled[0].sparse
    assert scaled[0].scale_grad_by_freq


class Squeezed(nn.Linear):
    """One output a sample, squeezed in a way that makes a number of a single sample."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze()


class TimeFirst(nn.Module):
    """Samples in the second dimension of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.RNN(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[0][-1])


class Graph(nn.Module):
    """Samples that are nodes of a graph, with its edges as a second input."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        hidden = self.body(x).tanh()
        return self.head(hidden.index_add(0, edges[1], hidden[edges[0]]))


@pytest.mark.parametrize(
    ("model", "data", "loss"),
    [
        (Squeezed(3, 1), (X, Y.to(X)), "mse"),
        (TimeFirst(), [(X.expand(5, 10, 3), Y)], "cross_entropy"),
        (Graph(), [((X, torch.randint(0, 10, (2, 30))), Y)], "cross_entropy"),
    ],
    ids=["squeezed", "time first", "graph"],
)
def test_models_whose_samples_cannot_be_taken_apart_are_measured_whole(model: nn.Module, data: Any, loss: str) -> None:
    """The radial derivative by central differences of the loss of each sample."""
    found = measure(model, data, ["fisher_rao_norm", "relative_flatness"], loss=loss)
    inputs, targets = data if isinstance(data, tuple) else data[0]

    def losses(scale: float) -> Tensor:
        scaled = copy.deepcopy(model).double()
        with torch.no_grad():
            for parameter in scaled.parameters():
                parameter.mul_(scale)
            args = inputs if isinstance(inputs, tuple) else (inputs,)
            outputs = scaled(*(a.double() if a.is_floating_point() else a for a in args))
        if loss == "mse":
            return (outputs - targets).square()
        return F.cross_entropy(outputs, targets, reduction="none")

    radial = (losses(1 + 1e-4) - losses(1 - 1e-4)) / 2e-4
    assert found["fisher_rao_norm"].value == pytest.approx(float(radial.square().mean().sqrt()), rel=1e-4)
    assert found["relative_flatness"].value > 0


def test_a_compiled_model_is_looked_through() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    assert {**measure(torch.compile(model, backend="eager"), (X, Y))} == {**measure(model, (X, Y))}


def test_a_model_that_casts_by_itself_is_told_so() -> None:
    class Casting(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.to(torch.bfloat16))

    with pytest.raises(SharpscopeError, match=r"measured in torch.float32, and this one casts.*model.float\(\)"):
        measure(Casting(3, 2).to(torch.bfloat16), (X, Y), ["margin"])


def test_parameters_made_in_inference_mode_have_derivatives() -> None:
    with torch.inference_mode():
        model = nn.Linear(3, 2)
    assert measure(model, (X, Y), ["gradient_norm"])["gradient_norm"].value > 0


@pytest.mark.parametrize(
    ("parameter", "message"),
    [(torch.ones(2, dtype=torch.complex64), "complex64"), (torch.ones(2, dtype=torch.int8), "int8")],
)
def test_parameters_that_are_not_real_are_refused(parameter: Tensor, message: str) -> None:
    model = nn.Linear(3, 2)
    model.extra = nn.Parameter(parameter, requires_grad=False)
    with pytest.raises(SharpscopeError, match=f"real floating-point parameters, and 'extra' has torch.{message}"):
        measure(model, (X, Y), ["margin"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"measures": {"a": "margin"}}, "the options of a measure must be a mapping, got 'margin'"),
        ({"measures": [("margin", {})]}, r"measures must be names, or a mapping.*got \('margin'"),
        ({"rtol": "0.1"}, "rtol must be a positive number, got '0.1'"),
        ({"forward": "x"}, "forward must be a callable"),
        ({"model": lambda x: x}, "the model must be a torch.nn.Module, got function"),
    ],
)
def test_unfit_arguments_are_told_in_a_sentence(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SharpscopeError, match=message):
        measure(**{"model": nn.Linear(3, 2), "data": (X, Y), "measures": ["margin"]} | arguments)


def test_what_has_no_derivative_along_a_direction_is_left_out_of_the_default() -> None:
    model = nn.Sequential(nn.EmbeddingBag(9, 4), nn.Linear(4, 2))
    with pytest.warns(UserWarning, match="fisher_rao_norm: an operation of the model has no derivative along"):
        assert "relative_flatness" in measure(model, (torch.arange(20).view(10, 2) % 9, Y))


def test_jacobians_of_samples_want_samples_that_stand_alone() -> None:
    edges = torch.randint(0, 10, (2, 30))
    with pytest.raises(NotDefined, match="cannot be evaluated on a sample alone"):
        measure(Graph(), [((X, edges), Y)], ["information_geometric_sharpness"])


def test_an_error_keeps_its_kind_with_the_measure_in_front() -> None:
    def failing(risk: Risk) -> Steps:
        yield Count()
        raise UnknownName("layer", "cnov", ["conv"])

    with pytest.raises(UnknownName, match="key: unknown layer 'cnov'; did you mean 'conv'"):
        run_together(Risk(nn.Linear(3, 2), Batches((X, Y))), {"key": (failing, {})})
