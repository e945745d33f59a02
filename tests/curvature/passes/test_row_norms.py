"""Sums of squared norms of Jacobian rows are those of the dense Jacobian, however they are made and cut."""

from __future__ import annotations

import pytest
import torch
from tests import dense
from tests.cases import CASES, Case
from tests.curvature.passes.test_output_gram import KEPT, LAYERS, Tokens
from torch import Tensor, nn

from sharpscope.curvature.passes import Evaluator, row_norms
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches

# Cuts of gradients and of what norms are made of: nothing is cut, or everything to single directions and samples.
CUTS = {"whole": {}, "cut": {"_HELD": 1, "_PIECE": 1, "_FEW": 1}, "few": {"_HELD": 200, "_PIECE": 100, "_FEW": 2}}


def compare(model: nn.Module, inputs: Tensor, chosen: int | None = None) -> None:
    """Compare the sums over all samples in two batches, by parameter."""
    generator = torch.Generator().manual_seed(2)
    halves = [(part, torch.zeros(len(part)).long()) for part in inputs.split([3, len(inputs) - 3])]
    with Risk(model, Batches(halves)) as risk:
        Evaluator(risk).run({})
        J = dense.output_jacobians(risk).detach()
        directions = torch.randn(len(inputs), 3, J.shape[1], generator=generator, dtype=torch.float64)
        weights = torch.randn(len(inputs), 3, generator=generator, dtype=torch.float64)
        names = list(risk.parameters)[:chosen]
        found = dict.fromkeys(names, 0.0)
        for part, batch in zip((slice(0, 3), slice(3, None)), risk, strict=True):
            sums = row_norms.weighted_row_norms(risk, batch, directions[part], weights[part], names)
            assert sums is not None
            assert list(sums) == names
            found = {name: found[name] + float(sums[name]) for name in names}
        squares = torch.einsum("nrc,ncp->nrp", directions, J).square()
        entries = torch.einsum("nr,nrp->p", weights, squares)
        sizes = [p.numel() for p in risk.parameters.values()]
        expected = [float(block.sum()) for block in entries.split(sizes)][:chosen]
    assert list(found.values()) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.fixture(params=CUTS, autouse=True)
def _cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CUTS[request.param].items():
        monkeypatch.setattr(row_norms, name, value)


NETWORKS = [case for case in CASES if not case.mapping and case.route == "sensitivity"]


@pytest.mark.parametrize("case", NETWORKS, ids=lambda c: c.name)
def test_they_are_those_of_dense_rows(case: Case) -> None:
    compare(case.model(), torch.cat([x for x, _ in case.data()]))
    compare(case.model(), torch.cat([x for x, _ in case.data()]), chosen=2)


# The parameters of a PReLU have no uses that are recorded.
@pytest.mark.parametrize("name", sorted({*LAYERS, *KEPT} - {"prelu"}))
def test_layers_of_every_kind(name: str) -> None:
    layer, shape = (LAYERS[name] if name in LAYERS else KEPT[name])[:2]
    x = torch.randn(7, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)).double().eval()
    model(x)
    compare(model, x)


def test_embeddings_with_padding() -> None:
    ids = torch.randint(0, 40, (7, 5), generator=torch.Generator().manual_seed(1))
    compare(Tokens().double(), ids % 4)


def test_a_parameter_that_is_used_otherwise_is_said() -> None:
    case = next(case for case in CASES if case.name == "attention_free_parameter")
    with Risk(case.model(), Batches(case.data((12,)))) as risk:
        (batch,) = list(risk)
        ones = torch.ones(12, 2, 4, dtype=torch.float64)
        assert row_norms.weighted_row_norms(risk, batch, ones, ones[:, :, 0], list(risk.parameters)) is None
