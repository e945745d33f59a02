"""Models that do more than switch modes when they are put in eval mode are measured and left as they were."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from sharpscope import measure
from sharpscope.errors import SharpscopeError

X = torch.randn(24, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.arange(24) % 3
MEASURES = ["gradient_norm", "parameter_norm", "hessian_top_eigenvalue"]


class Adapted(nn.Linear):
    """A linear layer with an adapter of low rank, which it merges into its weight in eval mode."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.down, self.up = nn.Parameter(torch.randn(2, inputs)), nn.Parameter(torch.randn(outputs, 2))
        self.weight.requires_grad = False
        self.merged = False

    def train(self, mode: bool = True) -> Adapted:
        super().train(mode)
        if self.merged is mode:
            self.weight.data += (-1 if mode else 1) * (self.up @ self.down)
            self.merged = not mode
        return self

    def is_merged(self) -> bool:
        return self.merged

    def forward(self, x: Tensor) -> Tensor:
        outputs = super().forward(x)
        return outputs if self.is_merged() else outputs + x @ self.down.T @ self.up.T


class AdaptedInTraining(Adapted):
    """One that takes its weights for merged wherever it is in eval mode."""

    def is_merged(self) -> bool:
        return not self.training


def network(layer: type[Adapted]) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(layer(5, 6), nn.Tanh(), nn.Linear(6, 3)).double().train()


def brute_force(model: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[float, float, float]:
    """Return the measures of a model by autograd in the mode that it is in."""
    own = {name: p.detach() for name, p in model.named_parameters()}
    vector = torch.cat([p.flatten() for p in own.values()])

    def risk(vector: Tensor) -> Tensor:
        parts = vector.split([p.numel() for p in own.values()])
        given = {name: part.view_as(p) for (name, p), part in zip(own.items(), parts, strict=True)}
        return F.cross_entropy(functional_call(model, given, (data[0],)), data[1])

    gradient = torch.autograd.functional.jacobian(risk, vector)
    hessian = torch.autograd.functional.hessian(risk, vector)
    return float(gradient.norm()), float(vector.norm()), float(torch.linalg.eigvalsh(hessian)[-1])


def test_an_adapter_that_merges_in_eval_mode_is_measured_unmerged_and_left_so() -> None:
    model = network(Adapted)
    model(X).sum().backward()
    before = copy.deepcopy(model)
    outputs = model(X)
    found = measure(model, (X, Y), MEASURES)
    # Of a graph that was there before, too.
    outputs.sum().backward()
    assert model.training
    assert model[0].training
    assert not model[0].merged
    for (name, parameter), kept in zip(model.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(parameter, kept), name
        assert parameter.requires_grad == kept.requires_grad
    assert model[0].down.grad is not None
    assert [found[name].value for name in MEASURES] == pytest.approx(brute_force(before, (X, Y)), rel=1e-3)


def test_one_that_is_merged_already_is_measured_so() -> None:
    model = network(Adapted).eval()
    before = model[0].weight.clone()
    found = measure(model, (X, Y), MEASURES)
    assert torch.equal(model[0].weight, before)
    assert model[0].merged
    assert [found[name].value for name in MEASURES] == pytest.approx(brute_force(model, (X, Y)), rel=1e-3)


def test_a_model_that_takes_its_weights_for_merged_is_refused_and_left_as_it_was() -> None:
    model = network(AdaptedInTraining)
    before = model[0].weight.clone()
    with pytest.raises(SharpscopeError, match=r"own eval\(\) changes '.*', without which its outputs are others"):
        measure(model, (X, Y), MEASURES)
    assert torch.equal(model[0].weight, before)
    assert model.training
    assert not model[0].merged


class FrozenStatistics(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.last = nn.BatchNorm1d(5), nn.Linear(5, 3)

    def train(self, mode: bool = True) -> FrozenStatistics:
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(x))


def test_a_layer_that_stays_in_eval_mode_does_so() -> None:
    model = FrozenStatistics().double().train()
    measure(model, (X, Y), MEASURES)
    assert (model.training, model.norm.training, model.last.training) == (True, False, True)


IDS = torch.randint(0, 9, (24, 4), generator=torch.Generator().manual_seed(0))
IDS[:, 0] = 2


class Padded(nn.Module):
    def __init__(self, prepare: Callable[[Padded, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.last = nn.Embedding(9, 4, padding_idx=2), nn.Linear(16, 3)
        nn.init.normal_(self.words.weight)
        self.prepare = prepare

    def forward(self, ids: Tensor) -> Tensor:
        return self.last(self.prepare(self, ids, self.words(ids)).flatten(1))


def plain(model: Padded, ids: Tensor, words: Tensor) -> Tensor:
    return words


def masked(model: Padded, ids: Tensor, words: Tensor) -> Tensor:
    return words * (ids != model.words.padding_idx)[..., None]


@pytest.mark.parametrize("prepare", [plain, masked])
def test_padding_that_reaches_the_outputs_has_its_gradient(prepare: Callable[..., Tensor]) -> None:
    model = Padded(prepare).double()
    reference = copy.deepcopy(model)
    # After the mask, if any, has been made of it, as the measurement must have it too.
    reference.words.forward = lambda ids: F.embedding(ids, reference.words.weight)
    found = measure(model, (IDS, Y), MEASURES)
    assert [found[name].value for name in MEASURES] == pytest.approx(brute_force(reference, (IDS, Y)), rel=1e-3)
    assert model.words.padding_idx == 2
    assert "forward" not in vars(model.words)


class Scaled(nn.Embedding):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def looked_up(model: Padded, ids: Tensor, words: Tensor) -> Tensor:
    return F.embedding(ids, model.words.weight, padding_idx=-7)


def scaled(model: Padded, ids: Tensor, words: Tensor) -> Tensor:
    return model.scaled(ids)


@pytest.mark.parametrize(
    ("prepare", "name"), [(looked_up, "words.weight"), (scaled, "scaled.weight")], ids=["function", "subclass"]
)
def test_padding_that_gradients_leave_out_anyway_is_refused_where_outputs_depend_on_it(
    prepare: Callable[..., Tensor], name: str
) -> None:
    model = Padded(prepare)
    model.scaled = Scaled(9, 4, padding_idx=2)
    with pytest.raises(SharpscopeError, match=f"row of padding_idx in the parameter '{name}'"):
        measure(model, (IDS, Y), MEASURES)
    model.prepare = lambda model, ids, words: prepare(model, ids, words) * (ids != 2)[..., None]
    assert measure(model, (IDS, Y), MEASURES)["gradient_norm"].value > 0
