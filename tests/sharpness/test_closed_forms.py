"""Every closed form equals brute force in float64, on every case, however the data is cut."""

from __future__ import annotations

import math

import pytest
import torch
from tests import dense
from tests.cases import CASES, SPLITS, Case
from torch.nn import functional as F

from sharpscope import measure
from sharpscope.curvature.passes import Evaluator
from sharpscope.curvature.passes.head import HeadFinder
from sharpscope.curvature.passes.reductions import FeatureMoments
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import NotDefined

RTOL = 1e-9


def risk_of(case: Case, loss: object = "cross_entropy") -> Risk:
    return Risk(case.model(), Batches(case.data()), loss=loss)  # type: ignore[arg-type]


def head_of(risk: Risk) -> torch.nn.Linear:
    return [m for m in risk.model.modules() if isinstance(m, torch.nn.Linear)][-1]


def smooth(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs, targets, reduction="none", label_smoothing=0.2) + 0.1 * outputs.pow(4).mean(dim=1)


@pytest.mark.parametrize("loss", ["cross_entropy", smooth], ids=["cross_entropy", "callable"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_relative_flatness_is_the_double_sum_over_hessian_blocks(case: Case, loss: object) -> None:
    with risk_of(case, loss) as risk:
        W = head_of(risk).weight
        C, D = W.shape
        H = dense.hessian(risk, [W]).reshape(C, D, C, D).detach()
        W = W.detach()
        traces = torch.einsum("sdtd->st", H)
        expected = float(((W @ W.T) * traces).sum())
        moments = FeatureMoments()
        Evaluator(risk).run({"": [moments]})
        kept = ~moments.constant
        scale = moments.variance.sqrt()[kept]
        V = W[:, kept] * scale
        H_scaled = H[:, kept][:, :, :, kept] / scale[None, :, None, None] / scale[None, None, None, :]
        expected_normalized = float(((V @ V.T) * torch.einsum("sdtd->st", H_scaled)).sum())
        expected_largest = sum(
            float(V[s].square().sum() * torch.linalg.eigvalsh(H_scaled[s, :, s, :])[-1]) for s in range(C)
        )
    for split in SPLITS:
        found = measure(
            case.model(),
            case.data(split),
            {
                "raw": {"measure": "relative_flatness", "normalize": False},
                "normalized": {"measure": "relative_flatness"},
                "largest": {"measure": "relative_flatness", "variant": "max_eigenvalue"},
            },
            loss=loss,  # type: ignore[arg-type]
        )
        assert found["raw"].value == pytest.approx(expected, rel=RTOL)
        assert found["normalized"].value == pytest.approx(expected_normalized, rel=RTOL)
        assert found["largest"].value == pytest.approx(expected_largest, rel=RTOL)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_fisher_rao_norm_is_the_root_mean_square_of_radial_derivatives(case: Case) -> None:
    with risk_of(case) as risk:
        theta = dense.flat_parameters(risk)
        expected = float((dense.sample_gradients(risk) @ theta).detach().square().mean().sqrt())
        jacobians = dense.output_jacobians(risk)
        pushed = (jacobians @ theta).detach()
        p = torch.cat(
            [
                risk.outputs(batch, dict(risk.model.named_parameters())).detach().softmax(dim=1)
                for batch in dense.batches(risk)
            ]
        )
        variance = (p * pushed.square()).sum(dim=1) - (p * pushed).sum(dim=1).square()
        expected_model = float(variance.mean().sqrt())
    for split in SPLITS:
        found = measure(
            case.model(),
            case.data(split),
            {"data": {"measure": "fisher_rao_norm"}, "model": {"measure": "fisher_rao_norm", "labels": "model"}},
        )
        assert found["data"].value == pytest.approx(expected, rel=RTOL)
        assert found["data"].details["route"] == case.route
        assert found["model"].value == pytest.approx(expected_model, rel=RTOL)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_shares_of_the_fisher_rao_norm_add_up(case: Case) -> None:
    shares = measure(case.model(), case.data(), ["fisher_rao_norm"])["fisher_rao_norm"].details["shares"]
    assert bool(shares) == (case.route == "sensitivity")
    if shares:
        assert sum(shares.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_controls_equal_brute_force(case: Case) -> None:
    with risk_of(case) as risk:
        gradient = dense.sample_gradients(risk).mean(dim=0)
        theta = dense.flat_parameters(risk)
        head = head_of(risk).weight.detach()
        outputs = torch.cat(
            [risk.outputs(batch, dict(risk.model.named_parameters())).detach() for batch in dense.batches(risk)]
        )
        targets = torch.cat([batch.targets for batch in risk])
    margins = torch.tensor(
        [f[y] - max(v for c, v in enumerate(f) if c != y) for f, y in zip(outputs, targets, strict=True)]
    )
    p = torch.softmax(outputs.double(), dim=1)
    names = ["gradient_norm", "parameter_norm", "head_norm", "margin", "prediction_entropy"]
    for split in SPLITS:
        found = measure(case.model(), case.data(split), names)
        assert found["gradient_norm"].value == pytest.approx(float(gradient.norm()), rel=RTOL)
        assert found["parameter_norm"].value == pytest.approx(float(theta.norm()), rel=RTOL)
        assert found["head_norm"].value == pytest.approx(float(head.norm()), rel=RTOL)
        assert found["margin"].value == pytest.approx(float(margins.quantile(0.1)), rel=1e-6)
        assert found["prediction_entropy"].value == pytest.approx(float(-(p * p.log()).sum(dim=1).mean()), rel=RTOL)


@pytest.mark.parametrize("case", [c for c in CASES if "homogeneous" in c.tags], ids=lambda c: c.name)
def test_the_homogeneous_form_is_exact_on_homogeneous_networks(case: Case) -> None:
    found = measure(case.model(), case.data(), ["fisher_rao_norm", "fisher_rao_norm_analytic"])
    assert found["fisher_rao_norm_analytic"].value == pytest.approx(found["fisher_rao_norm"].value, rel=RTOL)
    assert found["fisher_rao_norm_analytic"].details["degree"] == 3


class Functional(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight)


def test_the_homogeneous_form_wants_a_degree_where_no_module_tells_it() -> None:
    data = (torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3)
    with pytest.raises(NotDefined, match="the model has none; pass the option degree"):
        measure(Functional(), data, ["fisher_rao_norm_analytic"])
    asked = {"fisher_rao_norm": {}, "fisher_rao_norm_analytic": {"degree": 1}}
    found = measure(Functional(), data, asked)
    assert found["fisher_rao_norm_analytic"].value == pytest.approx(found["fisher_rao_norm"].value, rel=1e-6)


def test_fisher_rao_shares_one_backward_pass_with_the_gradient() -> None:
    case = CASES[0]
    calls = 0

    def counted(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return model(x)

    measure(case.model(), case.data((12,)), ["fisher_rao_norm", "gradient_norm", "relative_flatness"], forward=counted)
    assert calls == 5, "one pass; the samples as they are, at other parameters and with gradients, and one by itself"


def test_squared_error_has_the_curvature_of_the_mean_over_outputs() -> None:
    x = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = torch.nn.Linear(3, 2).double()
    y = torch.zeros(9, 2, dtype=torch.float64)
    found = measure(model, (x, y), {"relative_flatness": {"normalize": False}}, loss="mse")
    # tr(W^T A W) with A = (2 / C) I is |W|^2 for C = 2.
    expected = float(x.square().sum(dim=1).mean() * model.weight.detach().square().sum())
    assert found["relative_flatness"].value == pytest.approx(expected, rel=RTOL)


def test_nearly_perfect_predictions_keep_their_digits() -> None:
    """In float32, 1 - p_y has few digits at p_y = 1 - 1e-6 and none at 1 - 1e-9."""
    model = torch.nn.Linear(4, 3)
    x = torch.randn(99, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.weight.mul_(20)
        y = model(x).argmax(dim=1)
        keep = measure_losses(model, x, y) < 1e-5
    x, y = x[keep], y[keep]
    assert len(x) > 3
    names = {"relative_flatness": {"normalize": False}, "fisher_rao_norm": None, "gradient_norm": None}
    single = measure(model, (x, y), names)
    double = measure(model.double(), (x.double(), y), names)
    for name in names:
        assert single[name].value == pytest.approx(double[name].value, rel=1e-4)


def measure_losses(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(model(x).double(), y, reduction="none")


def test_variances_survive_a_large_mean() -> None:
    """A one-pass E[x^2] - E[x]^2 in float32 was 11% low at mean 10 and deviation 0.01."""
    x = 10 + 0.01 * torch.randn(4096, 3, generator=torch.Generator().manual_seed(0))
    y = torch.randint(0, 2, (4096,), generator=torch.Generator().manual_seed(1))
    model = torch.nn.Linear(3, 2)
    risk = Risk(model, Batches((x, y), batch_size=100))
    moments = FeatureMoments()
    with risk:
        Evaluator(risk).run({"": [moments]})
    torch.testing.assert_close(moments.variance, x.double().var(dim=0, correction=0), rtol=1e-9, atol=0)


def test_constant_features_are_left_out_and_named() -> None:
    x = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.randint(0, 2, (20,), generator=torch.Generator().manual_seed(1))
    model = torch.nn.Linear(4, 2).double()
    reduced = torch.nn.Linear(3, 2).double()
    with torch.no_grad():
        reduced.weight.copy_(model.weight[:, [0, 2, 3]])
        reduced.bias.copy_(model.bias + 0.7 * model.weight[:, 1])
    wide = torch.cat([x[:, :1], torch.full((20, 1), 0.7, dtype=torch.float64), x[:, 1:]], dim=1)
    found = measure(model, (wide, y), ["relative_flatness"])["relative_flatness"]
    assert found.details["constant_features"] == [1]
    assert found.value == pytest.approx(measure(reduced, (x, y), ["relative_flatness"])["relative_flatness"].value)


def test_the_head_is_found_within_the_measured_pass() -> None:
    with risk_of(CASES[3]) as risk:
        evaluator = Evaluator(risk)
        evaluator.run({"": [FeatureMoments()]})
        assert isinstance(evaluator.head, HeadFinder)
        assert evaluator.head.name == "head"
    assert math.isfinite(risk.samples)
