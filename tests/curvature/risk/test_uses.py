"""Parameters that a model reads from elsewhere than its modules, and those that it writes to, are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from sharpscope import measure
from sharpscope.errors import NotDeterministic, SharpscopeError

X = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(24) % 3
MEASURES = ["gradient_norm", "sam_sharpness"]


class Net(nn.Module):
    """Two layers, of which the first takes its weight by a way of its own."""

    def __init__(self, weight: Callable[[Net], Tensor] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 3)
        self.weights, self.kept, self.cache = [self.first.weight], {}, None
        own = self.first.weight
        self.closure = lambda: own
        self.weight = weight or (lambda model: model.first.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(F.linear(x, self.weight(self), self.first.bias)))


def kept_in_attribute(model: Net) -> Tensor:
    if model.cache is None:
        model.cache = model.first.weight * 1.0
    return model.cache


def kept_in_dictionary(model: Net) -> Tensor:
    if "weight" not in model.kept:
        model.kept["weight"] = torch.empty(6, 5)
        model.kept["weight"][:] = model.first.weight
    return model.kept["weight"]


@pytest.mark.parametrize(
    "weight",
    [
        lambda model: model.weights[0],
        lambda model: model.weights[0].data,
        lambda model: model.first.weight + model.weights[0][:1],
        lambda model: model.closure(),
        kept_in_attribute,
        kept_in_dictionary,
    ],
    ids=["list", "data", "a row", "closure", "attribute", "dictionary"],
)
@pytest.mark.parametrize("name", [*MEASURES, "margin"])
def test_a_parameter_from_elsewhere_is_refused_by_name(weight: Callable[[Net], Tensor], name: str) -> None:
    model = Net(weight)
    with pytest.raises(SharpscopeError, match=r"computes with the parameter 'first.weight' from elsewhere"):
        measure(model, (X, Y), [name])
    assert model.cache is None


def test_so_is_a_tensor_that_the_user_has_let_the_model_make_of_it() -> None:
    model = Net(kept_in_dictionary)
    model(X)
    with pytest.raises(SharpscopeError, match=r"the parameter 'first.weight' from elsewhere"):
        measure(model, (X, Y), MEASURES)


def kept_mask(model: Net) -> Tensor:
    if model.cache is None:
        model.cache = torch.ones_like(model.first.weight).tril()
    return model.first.weight * model.cache


def kept_scale(model: Net) -> Tensor:
    # Another use of a parameter that gives a shape and a type only.
    return model.first.weight * torch.ones(()).expand_as(model.weights[0]).to(model.weights[0])


@pytest.mark.parametrize("weight", [kept_mask, kept_scale])
def test_what_is_made_of_their_form_alone_is_measured(weight: Callable[[Net], Tensor]) -> None:
    measure(Net(weight), (X, Y), MEASURES)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layers, self.last = kind(1, 4, num_layers=2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(x[..., None])[0][:, -1])


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift, self.attention, self.last = (
            nn.Linear(1, 4),
            nn.MultiheadAttention(4, 2, batch_first=True),
            nn.Linear(4, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.lift(x[..., None])
        return self.last(self.attention(hidden, hidden, hidden)[0].mean(dim=1))


class Tied(nn.Module):
    """A head that is tied to an embedding, as language models have it, and a module that stands in a list too."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
        self.head.weight = self.words.weight
        self.all = [self.words, self.head]

    def forward(self, x: Tensor) -> Tensor:
        return self.all[1](self.all[0](x.abs().mul(3).long().clamp(max=8)).mean(dim=1))


class Computed(nn.Module):
    """A weight that a hook computes anew before each call, and that is kept as a tensor in the meantime."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)
        raw = self.layer.weight
        del self.layer._parameters["weight"]
        self.layer.register_parameter("raw", nn.Parameter(raw.detach()))
        self.layer.register_forward_pre_hook(
            lambda layer, _: setattr(layer, "weight", layer.raw - layer.raw.mean(dim=1, keepdim=True))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def two_layers(*changed: Callable[[nn.Linear], nn.Module]) -> nn.Module:
    first = nn.Linear(5, 6)
    for change in changed:
        first = change(first)
    return nn.Sequential(first, nn.Tanh(), nn.Linear(6, 3))


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1)


LEGITIMATE: dict[str, Callable[[], nn.Module]] = {
    "weight norm": lambda: two_layers(parametrizations.weight_norm),
    "old weight norm": lambda: two_layers(nn.utils.weight_norm),
    "spectral norm": lambda: two_layers(parametrizations.spectral_norm),
    "old spectral norm": lambda: two_layers(nn.utils.spectral_norm),
    "orthogonal": lambda: two_layers(parametrizations.orthogonal),
    "parametrization": lambda: two_layers(
        lambda layer: parametrize.register_parametrization(layer, "weight", Symmetric())
    ),
    "LSTM": lambda: Recurrent(nn.LSTM),
    "GRU": lambda: Recurrent(nn.GRU),
    "attention": Attending,
    "tied": Tied,
    "hook": Computed,
    "frozen": lambda: two_layers().requires_grad_(False),
    "bfloat16": lambda: two_layers().bfloat16(),
    "double": lambda: two_layers().double(),
    "BatchNorm": lambda: nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)),
    "compiled part": lambda: nn.Sequential(torch.compile(nn.Linear(5, 6), backend="eager"), nn.Linear(6, 3)),
    "scripted": lambda: torch.jit.trace(two_layers(), X),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", LEGITIMATE.values(), ids=LEGITIMATE)
def test_models_that_read_their_parameters_as_attributes_are_measured(make: Callable[[], nn.Module]) -> None:
    model = make()
    with torch.no_grad():
        model(X.to(next(model.parameters()).dtype))
    found = measure(model, (X, Y), ["gradient_norm"])
    assert found["gradient_norm"].value > 0


class Constrained(nn.Linear):
    def __init__(self, constrain: Callable[[nn.Linear], object]) -> None:
        super().__init__(5, 6)
        self.constrain = constrain

    def forward(self, x: Tensor) -> Tensor:
        self.constrain(self)
        return super().forward(x)


def clamp(layer: nn.Linear) -> None:
    layer.weight.data.clamp_(-0.1, 0.1)


def clamp_without_gradient(layer: nn.Linear) -> None:
    with torch.no_grad():
        layer.weight.clamp_(-0.1, 0.1)


def clamp_below(layer: nn.Linear) -> None:
    layer.weight.data.clamp_(min=0)


def renormalize(layer: nn.Linear) -> None:
    layer.weight.data = torch.renorm(layer.weight.data, 2, 0, 0.3)


@pytest.mark.parametrize("constrain", [clamp, clamp_without_gradient, clamp_below, renormalize])
@pytest.mark.parametrize("already", [False, True])
def test_a_model_that_writes_to_its_parameters_is_refused_before_it_does(
    constrain: Callable[[nn.Linear], object], already: bool
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Constrained(constrain), nn.Tanh(), nn.Linear(6, 3))
    if already:
        model(X)
    before, memory = model[0].weight.detach().clone(), model[0].weight.data_ptr()
    with pytest.raises(NotDeterministic, match=r"changes its parameter '0.weight'.*after optimizer.step\(\)"):
        measure(model, (X, Y), MEASURES)
    assert torch.equal(model[0].weight, before)
    assert model[0].weight.data_ptr() == memory
