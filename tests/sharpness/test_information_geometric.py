"""Information geometric sharpness equals its definition by dense matrices, and what it is at full rank."""

from __future__ import annotations

import pytest
import torch
from tests import dense
from tests.cases import CASES, SPLITS, Case
from torch import Tensor, nn

from sharpscope import measure
from sharpscope.curvature.passes import Evaluator
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import SharpscopeError
from sharpscope.seeding import Stream
from sharpscope.sharpness.information_geometric import _Drawn

NAME = "information_geometric_sharpness"


def outputs_of(risk: Risk) -> tuple[Tensor, Tensor]:
    """Return the outputs and targets of all samples."""
    batches = list(dense.batches(risk))
    parameters = dict(risk.model.named_parameters())
    return (
        torch.cat([risk.outputs(b, parameters).detach() for b in batches]),
        torch.cat([b.targets for b in batches]),
    )


def definition(risk: Risk, chosen: slice = slice(None)) -> tuple[float, int]:
    """Return E[g^T F^+ g] over all samples with the dense Fisher matrix of some parameters, and its rank."""
    J = dense.output_jacobians(risk).detach()[:, :, chosen]
    p, y = outputs_of(risk)
    p = p.softmax(dim=1)
    A = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    F = torch.einsum("ncp,ncd,ndq->pq", J, A, J) / len(J)
    g = torch.einsum("ncp,nc->np", J, p - nn.functional.one_hot(y, p.shape[1]))
    values, vectors = torch.linalg.eigh(F)
    kept = values > 1e-6 * values[-1]
    return float(((g @ vectors[:, kept]).square() / values[kept]).sum(dim=1).mean()), int(kept.sum())


def loss_form(risk: Risk) -> float:
    return float(risk.losses(*outputs_of(risk)).expm1().sum())


# Twelve samples leave fewer rows than parameters; eighty more, where eigenvalues are cut.
SIZES = [*((case, 12) for case in CASES), *((CASES[i], 80) for i in (0, 3, 7, 11))]


@pytest.mark.parametrize(("case", "samples"), SIZES, ids=lambda v: getattr(v, "name", str(v)))
def test_both_forms_equal_their_definitions(case: Case, samples: int) -> None:
    data = case.data((5, samples - 5))
    with Risk(case.model(), Batches(data)) as risk:
        expected, rank = definition(risk)
        head = [m for m in risk.model.modules() if isinstance(m, nn.Linear)][-1]
        length = sum(p.numel() for p in head.parameters())
        expected_head, rank_head = definition(risk, slice(-length, None))
        expected_loss = loss_form(risk)
    found = measure(case.model(), data, {"all": {"measure": NAME}, "head": {"measure": NAME, "parameters": "head"}})
    assert found["all"].value == pytest.approx(expected, rel=1e-6)
    assert found["head"].value == pytest.approx(expected_head, rel=1e-6)
    assert found["all"].details["rank"] == rank
    assert found["head"].details["rank"] == rank_head
    for estimate in found.values():
        assert estimate.stderr == 0
        assert estimate.samples == samples
        assert estimate.details["loss_form"] == pytest.approx(expected_loss, rel=1e-9)
        assert estimate.details["full_rank"] == (estimate.details["rank"] == 3 * samples)


def test_at_full_rank_it_is_the_loss_alone() -> None:
    case = CASES[0]
    found = measure(case.model(), case.data((8,)), [NAME])[NAME]
    with Risk(case.model(), Batches(case.data((8,)))) as risk:
        assert found.details["full_rank"]
        assert found.value == pytest.approx(loss_form(risk), rel=1e-9)


def test_the_form_of_the_head_is_more_than_the_loss() -> None:
    case = CASES[0]
    found = measure(case.model(), case.data((200,)), {NAME: {"parameters": "head"}})[NAME]
    assert not found.details["full_rank"]
    assert found.details["rank"] <= 3 * 7
    assert found.value < 0.9 * found.details["loss_form"]


@pytest.mark.parametrize("parameters", ["all", "head"])
@pytest.mark.parametrize("case", [CASES[3], CASES[7], CASES[11]], ids=lambda c: c.name)
def test_neither_the_value_nor_the_choice_of_samples_depends_on_the_split(case: Case, parameters: str) -> None:
    asked = {"some": {"measure": NAME, "samples": 7, "parameters": parameters}}
    values = [measure(case.model(), case.data(split), asked)["some"] for split in SPLITS]
    assert all(e.samples == 7 and e.details["population"] == 12 for e in values)
    assert [e.value for e in values[1:]] == pytest.approx([values[0].value] * 2, rel=1e-9)
    other = measure(case.model(), case.data(), asked, seed=1)["some"].value
    assert other != pytest.approx(values[0].value, rel=1e-6)


@pytest.mark.parametrize("parameters", ["all", "head"])
def test_single_precision_keeps_its_digits_where_eigenvalues_are_cut(parameters: str) -> None:
    """Confident predictions: rows of very unlike sizes, and eigenvalues far below the cut."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5))
    x = torch.randn(120, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model[2].weight.mul_(20)
        y = model(x).argmax(dim=1)
    asked = {NAME: {"parameters": parameters}}
    single = measure(model, (x, y), asked)[NAME]
    double = measure(model.double(), (x.double(), y), asked)[NAME]
    assert not double.details["full_rank"]
    assert single.value == pytest.approx(double.value, rel=1e-4)


def test_rescaling_layers_changes_nothing() -> None:
    case = CASES[0]
    model = case.model()
    before = measure(model, case.data((60,)), {"all": {"measure": NAME}, "h": {"measure": NAME, "parameters": "head"}})
    with torch.no_grad():
        model[0].weight.mul_(1.3), model[0].bias.mul_(1.3)
        model[2].weight.div_(1.3)
    after = measure(model, case.data((60,)), {"all": {"measure": NAME}, "h": {"measure": NAME, "parameters": "head"}})
    for key in before:
        assert after[key].value == pytest.approx(before[key].value, rel=1e-3)


def test_other_losses_are_refused() -> None:
    data = (torch.randn(5, 2), torch.zeros(5, 3))
    with pytest.raises(SharpscopeError, match="cross_entropy"):
        measure(nn.Linear(2, 3), data, [NAME], loss="mse")

    def halved(outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets, reduction="none") / 2

    with pytest.raises(SharpscopeError, match="cross_entropy"):
        measure(nn.Linear(2, 3), (data[0], torch.zeros(5, dtype=torch.long)), [NAME], loss=halved)


def overlapping() -> tuple[nn.Module, Tensor, Tensor]:
    """Return a small network, data that no network fits, and many samples for its few parameters."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
        x = torch.randn(400, 3, dtype=torch.float64)
        y = (2 * x + torch.randn_like(x)).argmax(dim=1)
    return model, x, y


@pytest.mark.parametrize(
    ("parameters", "samples", "closeness"),
    # A sample left out moves which eigenvalues are cut, if some are.
    [("all", 9, 1e-6), ("all", 40, 0.02), ("head", 9, 1e-6), ("head", 40, 1e-6)],
)
def test_the_error_of_the_draw_is_that_of_the_values_without_each_sample(
    parameters: str, samples: int, closeness: float
) -> None:
    model, x, y = overlapping()
    asked = {NAME: {"parameters": parameters, "samples": samples}}
    chosen = kept_samples(model, x, y, asked)
    found = measure(model, (x, y), asked)[NAME]
    rest = []
    for i in range(samples):
        others = torch.tensor([n for j, n in enumerate(chosen) if j != i])
        rest.append(measure(model, (x[others], y[others]), {NAME: {"parameters": parameters}})[NAME].value)
    spread = (samples - 1) * float(torch.tensor(rest).double().var(correction=0))
    assert found.stderr == pytest.approx((spread * (1 - samples / 400)) ** 0.5, rel=closeness)


def kept_samples(model: nn.Module, x: Tensor, y: Tensor, asked: dict[str, dict[str, object]]) -> list[int]:
    """Return which samples are drawn, by numbers that go along with the inputs."""
    drawn = _Drawn(asked[NAME]["samples"], Stream(0, "measure").child("estimators").child(NAME), head=False)
    with Risk(model, Batches((torch.cat([x, torch.arange(400)[:, None]], dim=1), y)), forward=_without_number) as risk:
        Evaluator(risk).run({"": [drawn]})
    batches, _, _ = drawn.finish()
    return torch.cat([batch.inputs[:, 3] for batch in batches]).long().tolist()


def _without_number(model: nn.Module, numbered: Tensor) -> Tensor:
    return model(numbered[:, :3])


@pytest.mark.parametrize("parameters", ["all", "head"])
def test_the_error_of_the_draw_is_the_spread_over_seeds(parameters: str) -> None:
    model, x, y = overlapping()
    asked = {NAME: {"parameters": parameters, "samples": 80}}
    found = [measure(model, (x, y), asked, seed=seed)[NAME] for seed in range(60)]
    spread = float(torch.tensor([e.value for e in found]).double().std())
    stated = float(torch.tensor([e.stderr for e in found]).double().square().mean().sqrt())
    assert stated == pytest.approx(spread, rel=0.3)
    assert measure(model, (x, y), {NAME: {"parameters": parameters, "samples": 400}})[NAME].stderr == 0
    assert measure(model, (x, y), {NAME: {"parameters": parameters, "samples": 1}})[NAME].stderr == float("inf")
