"""The Gram matrix of Jacobian rows equals that of the dense Jacobian, however its parts are kept and cut."""

from __future__ import annotations

import pytest
import torch
from tests import dense
from tests.cases import CASES, Case
from torch import Tensor, nn

from sharpscope.curvature.passes import Evaluator, output_gram
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batch, Batches


def risk_of(case: Case, split: tuple[int, ...] = (3, 4, 5)) -> tuple[Risk, list[Batch]]:
    risk = Risk(case.model(), Batches(case.data(split)))
    with risk:
        Evaluator(risk).run({})  # as before every use: it settles the layout of the batches
        return risk, list(risk)


def cotangents_of(batches: list[Batch], count: int, classes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(b.size, count, classes, generator=generator, dtype=torch.float64) for b in batches]


def compare(risk: Risk, batches: list[Batch], count: int, **options: int) -> None:
    with risk:
        J = dense.output_jacobians(risk).detach()
        cotangents = cotangents_of(batches, count, J.shape[1])
        rows = torch.einsum("nrc,ncp->nrp", torch.cat(cotangents), J).flatten(0, 1)
        found = output_gram.output_gram(risk, batches, cotangents, **options)
    torch.testing.assert_close(found, rows @ rows.T, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("budget", [1, 1 << 30], ids=["one_parameter_at_a_time", "all_at_once"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_it_is_the_product_of_dense_rows(case: Case, budget: int) -> None:
    compare(*risk_of(case), 3, budget=budget)


class Tokens(nn.Module):
    """An embedding with a padding index, wide against its positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 6, padding_idx=2)
        self.head = nn.Linear(6, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embedding(ids).tanh().mean(dim=1))


KEPT = {
    "convolution_as_kernel": (nn.Conv2d(4, 9, 3, padding=(1, 0), stride=2), (4, 3, 4), "kernel"),
    "convolution_as_products": (nn.Conv2d(4, 9, 3, dilation=2), (4, 6, 8), "products"),
    "convolution_as_rows": (nn.Conv2d(1, 2, 2, padding=1), (1, 6, 6), None),
}


@pytest.mark.parametrize("name", KEPT)
def test_every_way_of_keeping_a_layer(name: str) -> None:
    layer, shape, kept = KEPT[name]
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(7, *shape, generator=generator, dtype=torch.float64)
    model = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)).double()
    model(x)
    risk = Risk(model, Batches([(x[:3], torch.zeros(3).long()), (x[3:], torch.zeros(4).long())]))
    with risk:
        batches = list(risk)
        plans = output_gram._plans(risk, batches[0], torch.ones(3, 2, 3))
    assert next(p.factored for p in plans if p.name == "0.weight") == kept
    compare(risk, batches, 2)


def test_embeddings_are_products_of_unit_vectors_also_between_sequences_of_unlike_length() -> None:
    model = Tokens().double()
    generator = torch.Generator().manual_seed(1)
    ids = [torch.randint(0, 40, (n, length), generator=generator) for n, length in ((3, 5), (4, 2))]
    risk = Risk(model, Batches([(i, torch.zeros(len(i)).long()) for i in ids]))
    with risk:
        batches = list(risk)
        plans = output_gram._plans(risk, batches[0], torch.ones(3, 3, 4))
    assert next(p.factored for p in plans if p.name == "embedding.weight") == "kernel"
    compare(risk, batches, 3)


LAYERS = {
    "conv1d": (nn.Conv1d(3, 4, 2, groups=1), (3, 5)),
    "conv2d_same": (nn.Conv2d(2, 3, 3, padding="same"), (2, 3, 3)),
    "conv2d_circular": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 3, 3)),
    "conv3d": (nn.Conv3d(2, 3, 2), (2, 2, 3, 2)),
    "conv_transpose2d": (nn.ConvTranspose2d(2, 3, 2, stride=2), (2, 2, 3)),
    "batch_norm_of_features": (nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5)), (4,)),
    "instance_norm": (nn.InstanceNorm2d(3, affine=True), (3, 4, 2)),
    "layer_norm_of_two_dimensions": (nn.LayerNorm((3, 4)), (2, 3, 4)),
    "rms_norm": (nn.RMSNorm(4), (3, 4)),
    "prelu": (nn.PReLU(3), (3, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_every_kind(name: str) -> None:
    layer, shape = LAYERS[name]
    x = torch.randn(7, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)).double().eval()
    model(x)
    risk = Risk(model, Batches([(x[:3], torch.zeros(3).long()), (x[3:], torch.zeros(4).long())]))
    with risk:
        batches = list(risk)
    compare(risk, batches, 2)


def test_an_embedding_of_single_indices() -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    ids = torch.arange(7) % 5
    risk = Risk(model, Batches([(ids[:3], torch.zeros(3).long()), (ids[3:], torch.zeros(4).long())]))
    with risk:
        batches = list(risk)
    compare(risk, batches, 2)


def test_tiles_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_gram, "_ROWS", 5)
    monkeypatch.setattr(output_gram, "_COLUMNS", 7)
    monkeypatch.setattr(output_gram, "_KERNEL_NUMBERS", 400)
    for index in (0, 3, 6):
        compare(*risk_of(CASES[index]), 3)
