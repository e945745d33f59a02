"""However a model uses its parameters, what is made of its operations accounts for all of them, or gives way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests import dense
from tests.sharpness.test_information_geometric import definition
from torch import Tensor, nn

from sharpscope import measure
from sharpscope.curvature.passes import output_gram
from sharpscope.curvature.passes.sample_jacobians import accounts_for_gradient
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches

WORDS, LENGTH, WIDTH = 7, 4, 5
Between = Callable[[Any, Tensor], Tensor]


class Language(nn.Module):
    """Embedded tokens, something in between, and a head at the mean position, which may be tied to the embedding."""

    def __init__(
        self, between: Between = lambda _, h: h, *, tied: bool = False, **parts: nn.Parameter | nn.Module
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(WORDS, WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        if tied:
            self.head.weight = self.tokens.weight
        for name, part in parts.items():
            setattr(self, name, part)
        self._between = between

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self._between(self, self.tokens(ids))).mean(dim=1))


def positions() -> nn.Embedding:
    return nn.Embedding(LENGTH, WIDTH)


def matrix(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape))


def along(h: Tensor) -> Tensor:
    return torch.arange(h.shape[1])


# Each with whether its operations account for everything, so that none need be run sample by sample.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "plain": (Language, True),
    "tied": (lambda: Language(tied=True), True),
    "positions_broadcast": (
        lambda: Language(lambda m, h: h + m.positions(along(h)[None]), positions=positions()),
        False,
    ),
    "positions_without_samples": (
        lambda: Language(lambda m, h: h + m.positions(along(h)), positions=positions()),
        False,
    ),
    "positions_expanded": (
        lambda: Language(lambda m, h: h + m.positions(along(h).expand(len(h), -1)), positions=positions()),
        True,
    ),
    "positions_broadcast_tied": (
        lambda: Language(lambda m, h: h + m.positions(along(h)[None]), tied=True, positions=positions()),
        False,
    ),
    "class_token": (
        lambda: Language(lambda m, h: torch.cat([m.token.expand(len(h), -1, -1), h], dim=1), token=matrix(1, 1, WIDTH)),
        False,
    ),
    "used_twice": (lambda: Language(lambda m, h: m.twice(torch.tanh(m.twice(h))), twice=nn.Linear(WIDTH, WIDTH)), True),
    "einsum": (
        lambda: Language(lambda m, h: torch.einsum("btd,de->bte", h, m.matrix), matrix=matrix(WIDTH, WIDTH)),
        False,
    ),
    "elementwise": (lambda: Language(lambda m, h: h * m.scale, scale=matrix(WIDTH)), False),
    "expanded": (lambda: Language(lambda m, h: h + m.shift.expand_as(h), shift=matrix(1)), False),
    "seen_and_unseen": (
        lambda: Language(lambda m, h: m.layer(h) + h @ m.layer.weight.T, layer=nn.Linear(WIDTH, WIDTH)),
        False,
    ),
    "reordered": (
        lambda: Language(lambda m, h: m.layer(h.flip(0)).flip(0), layer=nn.Linear(WIDTH, WIDTH)),
        False,
    ),
}


@pytest.mark.parametrize("split", [(12,), (1, 11)])
@pytest.mark.parametrize("name", NETWORKS)
def test_measures_made_of_operations_equal_dense_derivatives(name: str, split: tuple[int, ...]) -> None:
    make, accounted = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().double()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, WORDS, (12, LENGTH), generator=generator)
    targets = torch.randint(0, WORDS, (12,), generator=generator)
    data = list(zip(ids.split(split), targets.split(split), strict=True))
    with Risk(model, Batches(data)) as risk:
        geometric, rank = definition(risk)
        radial = (dense.sample_gradients(risk) @ dense.flat_parameters(risk)).square().mean().sqrt()
        *_, last = risk
        assert accounts_for_gradient(risk, risk.reach.few(last)) == accounted
    found = measure(model, data, ["information_geometric_sharpness", "fisher_rao_norm"])
    assert found["information_geometric_sharpness"].value == pytest.approx(geometric, rel=1e-6)
    assert found["information_geometric_sharpness"].details["rank"] == rank
    assert found["fisher_rao_norm"].value == pytest.approx(float(radial), rel=1e-9)
    assert found["fisher_rao_norm"].details["route"] == ("sensitivity" if accounted else "forward_mode")


def once_for_many(model: Any, h: Tensor) -> Tensor:
    """Add positions, looked up once for all samples of a batch that has more than a few."""
    ids = along(h).expand(len(h), -1)
    return h + model.positions(ids[:1] if len(h) > 20 else ids)


def test_a_batch_that_operations_do_not_account_for_makes_all_go_sample_by_sample() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Language(once_for_many, positions=positions()).double()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, WORDS, (24, LENGTH), generator=generator)
    with Risk(model, Batches([(ids, ids[:, 0])])) as risk:
        batches = list(risk)
        J = dense.output_jacobians(risk).detach()
        assert accounts_for_gradient(risk, risk.reach.few(batches[0]))
        cotangents = torch.randn(24, 2, WORDS, generator=generator, dtype=torch.float64)
        rows = torch.einsum("nrc,ncp->nrp", cotangents, J).flatten(0, 1)
        found = output_gram.output_gram(risk, batches, [cotangents])
    torch.testing.assert_close(found, rows @ rows.T, rtol=1e-9, atol=1e-9)
