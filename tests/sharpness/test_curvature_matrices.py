"""Eigenvalues, traces and densities equal those of dense matrices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests import dense
from tests.cases import CASES, SPLITS, Case

from sharpscope import measure
from sharpscope.curvature.estimators import drive
from sharpscope.curvature.estimators import stochastic_lanczos_quadrature as quadrature
from sharpscope.curvature.operators import GaussNewton, Hessian, Products, Space
from sharpscope.curvature.passes import Evaluator
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import NotDeterministic, SharpscopeError
from sharpscope.sharpness import exact_trace

SPECTRAL = [case for case in CASES if case.name in {"mlp", "residual", "tied", "mapping"}]


def risk_of(case: Case, split: tuple[int, ...] = (3, 4, 5)) -> Risk:
    return Risk(case.model(), Batches(case.data(split)))


def dense_ggn(risk: Risk) -> torch.Tensor:
    jacobians = dense.output_jacobians(risk).detach()
    outputs = torch.cat(
        [risk.outputs(batch, dict(risk.model.named_parameters())).detach() for batch in dense.batches(risk)]
    )
    targets = torch.cat([batch.targets for batch in risk])
    curvature = risk.loss.hessian(outputs, targets)
    return torch.einsum("ncp,nce,neq->pq", jacobians, curvature, jacobians) / len(outputs)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_products_are_those_of_the_dense_matrices(case: Case) -> None:
    with risk_of(case) as risk:
        matrices = {"hessian": dense.hessian(risk).detach(), "ggn": dense_ggn(risk)}
    for split in SPLITS:
        with risk_of(case, split) as risk:
            space = Space(risk)
            vectors = torch.randn(3, space.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
            asked = [Products(Hessian(space), vectors), Products(GaussNewton(space), vectors)]
            Evaluator(risk).run({"": asked})
            for name, products in zip(matrices, asked, strict=True):
                torch.testing.assert_close(products.value, vectors @ matrices[name], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("case", [c for c in CASES if c.name in {"mlp_gelu", "attention"}], ids=lambda c: c.name)
def test_differences_of_gradients_state_their_route_and_come_near(case: Case) -> None:
    exact = measure(case.model(), case.data(), {"hessian_trace": {"probes": 8}})["hessian_trace"]
    near = measure(case.model(), case.data(), {"hessian_trace": {"probes": 8, "route": "differences"}})["hessian_trace"]
    assert exact.details["route"] == "double_backward"
    assert near.details["route"] == "central_differences"
    assert near.value == pytest.approx(exact.value, rel=1e-6)
    assert 0 < near.details["product_error"] < 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_the_error_of_differences_is_stated_at_kinks_too(seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
        data = (torch.randn(64, 8), torch.randint(0, 4, (64,)))
    asked: dict[str, Any] = {
        "exact": {"measure": "hessian_top_eigenvalue"},
        "near": {"measure": "hessian_top_eigenvalue", "route": "differences"},
    }
    found = measure(model, data, asked)
    assert abs(found["near"].value - found["exact"].value) <= found["near"].stderr + found["exact"].stderr


@pytest.mark.parametrize("case", SPECTRAL, ids=lambda c: c.name)
@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_top_eigenvalues(kind: str, case: Case) -> None:
    with risk_of(case) as risk:
        matrix = dense.hessian(risk).detach() if kind == "hessian" else dense_ggn(risk)
    expected = torch.linalg.eigvalsh(matrix).flip(0)
    name = f"{kind}_top_eigenvalue"
    found = measure(case.model(), case.data(), {name: {"k": 3, "budget": 300}}, rtol=1e-6)[name]
    assert found.converged
    assert found.details["eigenvalues"] == pytest.approx(expected[:3].tolist(), rel=1e-5)
    assert abs(found.value - float(expected[0])) <= found.stderr + 1e-12


@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_traces_and_norms_lie_within_their_errors(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_trace, "_PASSES_A_PRODUCT", 0)
    case = CASES[2]
    with risk_of(case) as risk:
        matrix = dense.hessian(risk).detach() if kind == "hessian" else dense_ggn(risk)
    asked: dict[str, Any] = {f"{kind}_trace": {}, f"{kind}_frobenius_norm": {}, f"{kind}_density": {"starts": 8}}
    truth = [float(matrix.trace()), float(matrix.norm()), float(matrix.trace())]
    found = measure(case.model(), case.data(), asked)
    for estimate, expected in zip(found.values(), truth, strict=True):
        assert estimate.stderr > 0
        assert abs(estimate.value - expected) < 4 * estimate.stderr
    layers = found[f"{kind}_trace"].details["layers"]
    assert list(layers) == ["0", "2", "4"]
    start = 0
    for layer, size in zip(layers.values(), (42, 48, 28), strict=True):
        block = matrix[start : start + size, start : start + size]
        assert abs(layer["value"] - float(block.trace())) < 4 * layer["stderr"]
        start += size


@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_the_errors_of_a_density_of_a_network_cover(kind: str) -> None:
    with risk_of(CASES[2]) as risk:
        matrix = dense.hessian(risk).detach() if kind == "hessian" else dense_ggn(risk)
    values = torch.linalg.eigvalsh(matrix)
    threshold = -1e-3 * float(values.abs().max())
    truth = {"trace": float(values.sum()), "share": float((values < threshold).double().mean())}
    covered = dict.fromkeys(truth, 0)
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        algorithm = quadrature(len(matrix), generator, starts=2, steps=8, dtype=torch.float64)
        density = drive(algorithm, lambda v: v @ matrix)
        found = {"trace": density.total(density.nodes), "share": density.share_below(threshold)}
        for name, (value, stderr) in found.items():
            covered[name] += abs(value - truth[name]) <= 2 * stderr
    # 100 intervals of two standard errors: 95 expected, standard deviation 2.1; the spread of the starts covers 65.
    assert min(covered.values()) >= 89
    options = {"starts": 2, "steps": 8}
    stated = measure(CASES[2].model(), CASES[2].data(), {f"{kind}_density": options})[f"{kind}_density"]
    assert stated.value == pytest.approx(truth["trace"], abs=3 * stated.stderr)
    assert stated.details["negative"]["value"] == pytest.approx(
        truth["share"], abs=2 * stated.details["negative"]["stderr"]
    )


@pytest.mark.parametrize("steps", [2, 3])
def test_the_error_of_a_trace_from_the_fewest_points_covers(steps: int) -> None:
    with risk_of(CASES[2]) as risk:
        matrix = dense_ggn(risk)
    off = []
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        algorithm = quadrature(len(matrix), generator, starts=2, steps=steps, dtype=torch.float64)
        density = drive(algorithm, lambda v: v @ matrix)
        value, stderr = density.total(density.nodes)
        off.append((value - float(matrix.trace())) / stderr)
    assert float(torch.tensor(off).square().mean().sqrt()) < 1.5


def test_a_single_point_has_no_spread_and_is_refused() -> None:
    with pytest.raises(SharpscopeError, match=r"option 'steps' of measure 'hessian_density': .* 2, got 1"):
        measure(CASES[0].model(), CASES[0].data(), {"hessian_density": {"steps": 1}})


def test_a_block_of_parameters_is_a_block_of_the_matrix() -> None:
    case = CASES[0]
    with risk_of(case) as risk:
        block = dense.hessian(risk, list(risk.model[2].parameters())).detach()  # type: ignore[index]
    options = {"parameters": "2"}
    found = measure(case.model(), case.data(), {"hessian_top_eigenvalue": options}, rtol=1e-8)
    expected = float(torch.linalg.eigvalsh(block)[-1])
    assert found["hessian_top_eigenvalue"].value == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match=r"no parameter is called.*'9'"):
        measure(case.model(), case.data(), {"hessian_trace": {"parameters": ["2", "9"]}})


def test_a_budget_that_runs_out_is_said() -> None:
    case = CASES[3]
    found = measure(case.model(), case.data(), {"hessian_top_eigenvalue": {"budget": 2}}, rtol=1e-9)
    assert not found["hessian_top_eigenvalue"].converged


def test_precision_asked_for_is_reached_or_said() -> None:
    case = CASES[2]
    found = measure(case.model(), case.data(), ["hessian_trace"], rtol=0.2)["hessian_trace"]
    assert found.converged
    assert found.stderr <= 0.2 * abs(found.value)


def test_trace_and_norm_share_their_products(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = 0
    multiply = Hessian.multiply

    def counted(self: Hessian, evaluation: Any, block: torch.Tensor) -> torch.Tensor:
        nonlocal vectors
        vectors += len(block)
        return multiply(self, evaluation, block)

    monkeypatch.setattr(Hessian, "multiply", counted)
    case = CASES[2]
    together = measure(case.model(), case.data((12,)), ["hessian_trace", "hessian_frobenius_norm"])
    assert vectors == 8 + 8 + 16
    alone = measure(case.model(), case.data((12,)), ["hessian_frobenius_norm"])
    assert alone["hessian_frobenius_norm"] == together["hessian_frobenius_norm"]


def test_data_that_changes_between_passes_is_refused() -> None:
    case = CASES[2]

    class Changing(list):  # type: ignore[type-arg]
        passes = 0

        def __iter__(self) -> Any:
            self.passes += 1
            for inputs, targets in case.data((6, 6)):
                # The mean loss of the whole does not tell one order of the samples from another.
                order = slice(None) if self.passes == 1 else torch.arange(5, -1, -1)
                yield inputs[order], targets[order]

    with pytest.raises(NotDeterministic, match=r"differed between two passes.*fixed order"):
        measure(case.model(), Changing(), ["hessian_top_eigenvalue"])
