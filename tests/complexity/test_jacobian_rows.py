"""Products of the rows of Jacobians: computed once for all measures of a pass, and for the twins of a model."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from tests.cases import CASES, Case
from torch import Tensor, nn

from sharpscope import measure
from sharpscope.complexity import jacobian_rows
from sharpscope.complexity.input_derivatives import InputDerivatives
from sharpscope.complexity.jacobian_rows import RowProducts
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.curvature.risk.twin_memory import TwinMemory
from sharpscope.measurement import measure_risk

ASKED: dict[str, dict[str, Any]] = {
    "energy": {"measure": "geometric_complexity"},
    "logits": {"measure": "input_jacobian_norm", "outputs": "logits"},
    "probabilities": {"measure": "input_jacobian_norm"},
}
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture
def pulls(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The cotangents of all backward passes to inputs."""
    made: list[Tensor] = []
    pull = InputDerivatives.pull

    def counted(self: InputDerivatives, cotangents: Tensor) -> list[Tensor]:
        made.append(cotangents)
        return pull(self, cotangents)

    monkeypatch.setattr(InputDerivatives, "pull", counted)
    return made


def net(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))


def twin_of(model: nn.Sequential, temperature: float) -> nn.Sequential:
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other[-1].parameters():
            parameter.div_(temperature)
    return other


def data(model: nn.Module, samples: int = 12) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(samples, 4, generator=generator).to(next(model.parameters()))
    return [(some, torch.zeros(len(some), dtype=torch.long)) for some in x.split(5)]


def values(model: nn.Module, memory: TwinMemory | None = None, samples: int = 12) -> dict[str, float]:
    risk = Risk(model, Batches(data(model, samples)))
    risk.twins = memory
    return {key: estimate.value for key, estimate in measure_risk(risk, ASKED).items()}


@every_case
def test_one_row_at_a_time_is_the_same(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = measure(case.model(), case.data((5, 7)), ASKED)
    monkeypatch.setattr(jacobian_rows, "_HELD", 0)
    one_by_one = measure(case.model(), case.data((5, 7)), ASKED)
    for key, estimate in at_once.items():
        assert estimate.value == pytest.approx(one_by_one[key].value, rel=1e-11)
        assert estimate.details == one_by_one[key].details


def test_rows_may_become_precise_a_few_samples_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = values(net().double())
    monkeypatch.setattr(jacobian_rows, "_PRECISE", 24)
    assert values(net().double()) == pytest.approx(whole, rel=1e-14)


def test_measures_of_one_pass_share_their_backward_passes(pulls: list[Tensor]) -> None:
    values(net())
    assert len(pulls) == 3 * 3, "a row for each of three outputs, in each of three batches"


def test_measures_of_other_inputs_share_nothing(pulls: list[Tensor]) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.net(x + 2 * y)

    two = ((torch.randn(6, 4), torch.randn(6, 4)), torch.zeros(6, dtype=torch.long))
    asked: dict[str, dict[str, Any]] = {
        f"{place}": {"measure": "geometric_complexity", "inputs": [place]} for place in (0, 1)
    }
    found = measure(Two(), [two], asked)
    assert len(pulls) == 2 * 3
    assert found["1"].value == pytest.approx(4 * found["0"].value, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 40.0])
def test_a_twin_is_known_from_its_model(temperature: float, pulls: list[Tensor]) -> None:
    model, memory = net().double(), TwinMemory()
    twin = twin_of(model, temperature)
    before = values(model, memory)
    brute_force = values(twin)
    pulls.clear()
    assert values(twin, memory.of_twin(temperature)) == pytest.approx(brute_force, rel=1e-11)
    assert pulls == []
    assert values(model, memory) == before


def test_a_confident_twin_keeps_its_digits() -> None:
    """Of all probability but 1e-9 on one class, what is left is told from a twin that is not sure at all."""
    model, memory = nn.Sequential(nn.Linear(2, 2, bias=False)), TwinMemory()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    x = Batches([(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))])
    risk = Risk(model, x)
    risk.twins = memory
    measure_risk(risk, ["input_jacobian_norm"])
    risk = Risk(twin_of(model, 0.1), x)
    risk.twins = memory.of_twin(0.1)
    found = measure_risk(risk, ["input_jacobian_norm"])["input_jacobian_norm"].value
    small = 1 / (1 + math.exp(20))
    assert found == pytest.approx(math.sqrt(2) * small * (1 - small) * 20, rel=1e-6)


def test_what_has_no_room_is_computed_anew(monkeypatch: pytest.MonkeyPatch, pulls: list[Tensor]) -> None:
    monkeypatch.setattr("sharpscope.curvature.risk.twin_memory._ROOM", 2 * 5 * (1 + 1 + 9))
    model, memory = net().double(), TwinMemory()
    values(model, memory)
    pulls.clear()
    twin = twin_of(model, 2.0)
    assert values(twin, memory.of_twin(2.0)) == pytest.approx(values(twin), rel=1e-11)
    assert len(pulls) == 3 + 9, "the last of three batches, and all of the one without a memory"


def test_nothing_is_read_of_other_samples_or_other_weights() -> None:
    model, memory = net().double(), TwinMemory()
    values(model, memory)
    twin = twin_of(model, 2.0)
    assert values(twin, memory.of_twin(2.0), samples=4) == pytest.approx(values(twin, samples=4), rel=1e-11)
    risk = Risk(model, Batches(data(model)))
    risk.twins = memory
    others = [risk.at(dict(twin.named_parameters())), risk.in_double(), risk.on(data(model, 3))]
    assert [other.twins for other in others] == [None] * 3
    assert risk.with_loss(risk.loss).twins is memory


def test_products_have_no_part_that_the_rows_have_in_common() -> None:
    rows = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vertex = torch.tensor([0, 1, 2, 0])
    found = RowProducts.of(rows, vertex, torch.float64)
    shifted = RowProducts.of(rows + 1e6, vertex, torch.float64)
    torch.testing.assert_close(shifted.products, found.products, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.squares, rows.square().sum(dim=(0, 2)))
