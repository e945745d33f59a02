"""Traces from Jacobian rows are those of dense matrices, and are taken only where they are exact and cheap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests import dense
from tests.cases import CASES, SPLITS, Case, Residual, mlp
from torch import Tensor, nn
from torch.nn import functional as F

from sharpscope import measure
from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.sharpness import exact_trace

ROWS = "jacobian_rows"
BY_NAME = {case.name: case for case in CASES}
# Those with a parameter that is used in another way than operations linear in it do.
OTHERWISE = {"attention_free_parameter", "encoder_layer"}
PIECEWISE_LINEAR = {"mlp", "mlp_no_bias", "residual", "residual_inplace"}


class Pooled(nn.Module):
    """Maxima and means over positions, and branches that are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(2, 3, 3, padding=1)
        self.thin = nn.Conv2d(2, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(5)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([F.leaky_relu(self.wide(x), 0.2), self.thin(x).clamp(-1, 1)], dim=1)
        return self.head(F.max_pool2d(self.norm(x) * 0.5, 2).mean(dim=(2, 3)))


class Gated(nn.Module):
    """The product of two branches, each linear."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.head = nn.Linear(5, 6), nn.Linear(5, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.one(x) * self.other(x))


class Twice(nn.Module):
    """A layer that is used twice, with nothing but ReLU between."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(5, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.body(x).relu()).relu())


EXTRA = [
    Case("pooled", Pooled, (2, 4, 4)),
    Case("leaky", lambda: mlp(nn.LeakyReLU), (5,)),
    Case("tanh", lambda: mlp(nn.Tanh), (5,)),
    Case("gated", Gated, (5,)),
    Case("twice", Twice, (5,)),
    Case("layer_norm", lambda: nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 4)), (5,)),
]
EVERY = [*CASES, *EXTRA]


def risk_of(model: nn.Module, data: Any, loss: Any = "cross_entropy") -> Risk:
    return Risk(model, Batches(data), loss=loss)


def gauss_newton(risk: Risk) -> Tensor:
    J = dense.output_jacobians(risk).detach()
    parameters = dict(risk.model.named_parameters())
    batches = list(dense.batches(risk))
    outputs = torch.cat([risk.outputs(batch, parameters).detach() for batch in batches])
    A = risk.loss.hessian(outputs, torch.cat([batch.targets for batch in batches]))
    return torch.einsum("ncp,nce,neq->pq", J, A, J) / len(J)


def diagonals(model: nn.Module, data: Any, loss: Any = "cross_entropy") -> dict[str, Tensor]:
    with risk_of(model, data, loss) as risk:
        return {"hessian": dense.hessian(risk).detach().diagonal(), "ggn": gauss_newton(risk).diagonal()}


def traces(model: nn.Module, data: Any, **options: Any) -> dict[str, Estimate]:
    asked: dict[str, Any] = {"hessian_trace": {}, "ggn_trace": {}}
    return {key.removesuffix("_trace"): e for key, e in measure(model, data, asked, **options).items()}


def check_exact(found: Estimate, diagonal: Tensor, samples: int = 12) -> None:
    assert found.details["route"] == ROWS
    assert (found.stderr, found.samples, found.converged) == (0.0, samples, True)
    assert found.value == pytest.approx(float(diagonal.sum()), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("case", EVERY, ids=lambda c: c.name)
def test_they_are_exact_where_the_structure_says_so(case: Case) -> None:
    expected = diagonals(case.model(), case.data())
    for split in SPLITS[:2]:
        found = traces(case.model(), case.data(split))
        if case.name in OTHERWISE:
            assert found["ggn"].details["route"] != ROWS
        else:
            check_exact(found["ggn"], expected["ggn"])
        if case.name in PIECEWISE_LINEAR | {"pooled", "leaky"}:
            check_exact(found["hessian"], expected["hessian"])
        else:
            assert found["hessian"].details["route"] == "double_backward"
            assert abs(found["hessian"].value - float(expected["hessian"].sum())) < 5 * found["hessian"].stderr


@pytest.mark.parametrize("case", EVERY, ids=lambda c: c.name)
def test_what_falls_back_has_the_values_of_probes(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    found = traces(case.model(), case.data())
    monkeypatch.setattr(exact_trace, "_PASSES_A_PRODUCT", 0)
    by_probes = traces(case.model(), case.data())
    for kind, estimate in by_probes.items():
        assert estimate.details["route"] == "double_backward"
        assert estimate.details["products"] == 32
        if found[kind].details["route"] != ROWS:
            assert found[kind] == estimate


def test_layers_are_the_blocks_of_modules_and_add_up() -> None:
    case = BY_NAME["residual"]
    expected = diagonals(case.model(), case.data())["hessian"]
    found = traces(case.model(), case.data())["hessian"]
    layers, start = found.details["layers"], 0
    assert list(layers) == ["stem", "norm", "deep", "deep_norm", "short", "head"]
    for name, module in case.model().named_children():
        size = sum(p.numel() for p in module.parameters())
        if size:
            block = float(expected[start : start + size].sum())
            assert layers[name] == {"value": pytest.approx(block, rel=1e-9), "stderr": 0.0}
        start += size
    assert sum(layer["value"] for layer in layers.values()) == pytest.approx(found.value, rel=1e-12)


def test_chosen_parameters_have_their_block_though_the_others_forbid_the_whole() -> None:
    """What lies before them, or beside, is a constant."""
    blocks = {
        "layer_norm": ["1", "3"],
        "tanh": ["4"],
        "twice": ["head"],
        "tied": ["head"],
        "residual": ["deep", "norm"],
    }
    for name, modules in blocks.items():
        case = next(case for case in EVERY if case.name == name)
        model, options = case.model(), {"parameters": modules}
        inside = torch.cat([torch.full((p.numel(),), n.split(".")[0] in modules) for n, p in model.named_parameters()])
        expected = diagonals(model, case.data())
        for key, found in measure(model, case.data(), dict.fromkeys(["hessian_trace", "ggn_trace"], options)).items():
            check_exact(found, expected[key.removesuffix("_trace")][inside])


WEIGHT = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
LOSSES: dict[str, tuple[Any, Callable[[Tensor], Tensor]]] = {
    "mse": ("mse", lambda y: F.one_hot(y, 4).double()),
    "weighted": (nn.CrossEntropyLoss(weight=WEIGHT), lambda y: y),
    "smoothed": (nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.2, ignore_index=2), lambda y: y),
    "probabilities": (nn.CrossEntropyLoss(), lambda y: F.one_hot(y, 4) * 0.7 + 0.075),
    "binary": (nn.BCEWithLogitsLoss(), lambda y: F.one_hot(y, 4).double()),
    "quartic": (lambda f, y: (f - y[:, None]).pow(4).sum(dim=1) + f.prod(dim=1), lambda y: y.double()),
    "concave": (lambda f, y: -(f.square() * y[:, None]).sum(dim=1), lambda y: 1 + y.double()),
    "linear": (lambda f, y: (f * y[:, None]).sum(dim=1), lambda y: y.double()),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("network", ["mlp", "residual"])
def test_every_loss(name: str, network: str) -> None:
    """Its Hessian in the outputs need not be positive."""
    loss, targets = LOSSES[name]
    case = BY_NAME[network]
    data = [(x, targets(y)) for x, y in case.data()]
    with risk_of(case.model(), data, loss) as risk:
        expected = {"hessian": dense.hessian(risk).detach().diagonal()}
    for kind, found in traces(case.model(), data, loss=loss).items():
        check_exact(found, expected["hessian"] if kind == "hessian" or name != "linear" else torch.zeros(1))


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 25, 26])
def test_as_many_outputs_as_are_no_dearer_than_probes(classes: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, classes)).double()
        x = torch.randn(6, 3, dtype=torch.float64)
    data = (x, torch.arange(6) % classes)
    expected = diagonals(model, [data])
    for kind, found in traces(model, data).items():
        if classes <= 25:
            check_exact(found, expected[kind], 6)
        else:
            assert found.details["route"] == "double_backward"
    # The budget of probes is what they would take.
    options = {"ggn_trace": {"sketch": 0, "probes": 2}}
    route = measure(model, data, options)["ggn_trace"].details["route"]
    assert route == (ROWS if classes <= 2 else "double_backward")


@pytest.mark.parametrize("network", ["mlp", "residual", "pooled"])
def test_single_precision_comes_near(network: str) -> None:
    case = next(case for case in EVERY if case.name == network)
    expected = diagonals(case.model(), case.data())
    data = [(x.float(), y) for x, y in case.data()]
    for kind, found in traces(case.model().float(), data).items():
        assert found.details["route"] == ROWS
        assert found.value == pytest.approx(float(expected[kind].sum()), rel=1e-5)


def test_digits_stay_where_one_class_has_nearly_all_probability() -> None:
    model = nn.Linear(3, 4).double()
    x, shift = torch.ones(5, 3, dtype=torch.float64), torch.tensor([40.0, 0, 0, 0], dtype=torch.float64)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(shift)
    # tr(A) is 1 - |p|^2, nearly 2 (1 - p_0), and |x|^2 + 1 is what each row has.
    rest = 3 * torch.exp(torch.tensor(-40.0, dtype=torch.float64))
    expected = float(4 * (2 * rest - rest.square() - rest.square() / 3))
    for single in (False, True):
        inputs = x.float() if single else x
        found = traces(model.float() if single else model, (inputs, torch.zeros(5).long()))
        assert found["ggn"].value == pytest.approx(expected, rel=1e-6)


def test_differences_take_probes() -> None:
    case = BY_NAME["mlp"]
    found = measure(case.model(), case.data(), {"hessian_trace": {"route": "differences"}})["hessian_trace"]
    assert found.details["route"] == "central_differences"
    assert found.stderr > 0


class Fickle(nn.Module):
    """Uses its scale in one way for a few samples and in another one for others."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(5, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.linear(x, self.body.weight, self.body.bias)
        if bool((x[:, 0] > 5).any()):
            hidden = x @ self.body.weight.T + self.body.bias
        return self.head(hidden.relu())


def test_a_later_batch_that_uses_parameters_in_another_way_lets_probes_take_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case("fickle", Fickle, (5,))
    data = case.data()
    data[-1][0][0, 0] = 6.0
    found = traces(case.model(), data)
    both = measure(case.model(), data, ["hessian_frobenius_norm", "hessian_trace", "ggn_trace"])
    monkeypatch.setattr(exact_trace, "_PASSES_A_PRODUCT", 0)
    assert found == traces(case.model(), data)
    assert both["hessian_trace"] == found["hessian"]


class Centered(nn.Module):
    """Takes the mean of a batch away, so that no sample stands alone."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(5, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x)
        return self.head((hidden - hidden.mean(dim=0)).relu())


@pytest.mark.parametrize("samples", [2, 12, 40])
def test_samples_that_depend_on_one_another_take_probes(samples: int) -> None:
    case = Case("centered", Centered, (5,))
    for found in traces(case.model(), case.data((samples,))).values():
        assert found.details["route"] == "double_backward"


def test_they_are_the_same_alone_and_with_others() -> None:
    case = BY_NAME["mlp"]
    alone = traces(case.model(), case.data())
    for order in (["hessian_frobenius_norm", "hessian_trace"], ["hessian_trace", "hessian_frobenius_norm"]):
        together = measure(case.model(), case.data(), order)
        assert together["hessian_trace"] == alone["hessian"]
        assert together["hessian_frobenius_norm"].details["products"] == 32
    norm = measure(case.model(), case.data(), ["hessian_frobenius_norm"])["hessian_frobenius_norm"]
    assert together["hessian_frobenius_norm"] == norm


def test_no_products_are_made_where_none_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Iterator[None]:
        raise AssertionError("a product was made")

    monkeypatch.setattr(exact_trace.Products, "update", refused)
    case = BY_NAME["mlp"]
    assert all(found.details["route"] == ROWS for found in traces(case.model(), case.data()).values())


def test_a_subset_keeps_the_error_of_its_choice() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = Residual().double().eval(), torch.randn(80, 2, 4, 4, dtype=torch.float64)
    found = measure(model, (x, torch.arange(80) % 4), ["hessian_trace"], subset=40)["hessian_trace"]
    assert found.details["route"] == ROWS
    assert found.samples == 40
    assert found.stderr == found.details["sampling_stderr"] > 0


def test_values_that_are_no_numbers_are_said() -> None:
    model = BY_NAME["mlp"].model()
    with torch.no_grad():
        next(model.parameters()).fill_(torch.inf)
    for loss, targets in (("cross_entropy", lambda y: y), LOSSES["quartic"]):
        data = [(x, targets(y)) for x, y in BY_NAME["mlp"].data()]
        assert not measure(model, data, ["ggn_trace"], loss=loss)["ggn_trace"].converged
