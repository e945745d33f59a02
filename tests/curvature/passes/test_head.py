"""The head is found where the outputs are linear in it, and nowhere else; phi is checked against autograd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sharpscope import measure
from sharpscope.errors import HeadNotFound

X = torch.randn(9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.arange(9) % 3
Tail = Callable[[Tensor], Tensor]


class WithTail(nn.Module):
    """A linear layer and what is done to its outputs."""

    def __init__(self, tail: Tail, scale: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Linear(5, 3)
        self.head = nn.Linear(3, 3)
        self.tail = tail
        with torch.no_grad():
            self.body.weight.copy_(torch.linspace(-1, 1, 15).view(3, 5))
            self.body.bias.zero_()
            self.head.bias.copy_(torch.tensor([0.3, -0.2, 0.1]))
            self.head.weight.copy_(scale * torch.tensor([[1.0, -1.0, 0.5], [-0.7, 0.2, 1.0], [0.3, 1.0, -1.2]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.head(torch.tanh(self.body(x))))


TAILS: dict[str, Tail] = {
    "none": lambda z: z,
    "temperature": lambda z: z / 2.5,
    "temperature in place": lambda z: z.div_(2.5),
    "tiny slope": lambda z: 1e-7 * z,
    "shift": lambda z: z + 1,
    "copy": lambda z: z.clone(),
    "view": lambda z: z.view(z.shape[0], 1, 3).flatten(1),
}
NOT_LINEAR: dict[str, Tail] = {
    "softmax": lambda z: 2 * z.softmax(dim=1),
    "log_softmax": lambda z: z.log_softmax(dim=1),
    "relu": lambda z: z.relu(),
    "square": lambda z: z * z,
    "scaled by class": lambda z: z * torch.tensor([1.0, 2.0, 3.0]),
    "mixed classes": lambda z: z.cumsum(dim=1),
    "mixed samples": lambda z: z - z.mean(dim=0),
}


def brute_force(model: nn.Module) -> float:
    """Return kappa = sum_{s,s'} <w_s, w_s'> tr(H_{s,s'}) from the full Hessian in W."""
    weight = dict(model.named_parameters())["head.weight"].detach()

    def loss(w: Tensor) -> Tensor:
        outputs = torch.func.functional_call(model, {"head.weight": w}, (X,))
        return nn.functional.cross_entropy(outputs, Y)

    hessian = torch.autograd.functional.hessian(loss, weight)
    return float(((weight @ weight.T) * torch.einsum("sdtd->st", hessian)).sum())


def kappa(model: nn.Module, **arguments: nn.Linear | str | None) -> float:
    options = {"relative_flatness": {"normalize": False}}
    return measure(model, [(X[:4], Y[:4]), (X[4:], Y[4:])], options, **arguments)["relative_flatness"].value


@pytest.mark.parametrize("tail", TAILS)
def test_the_head_is_seen_through_a_linear_tail(tail: str) -> None:
    model = WithTail(TAILS[tail]).double()
    assert kappa(model) == pytest.approx(brute_force(model), rel=1e-9)


@pytest.mark.parametrize("scale", [1.0, 1e4], ids=["", "saturated"])
@pytest.mark.parametrize("tail", NOT_LINEAR)
def test_there_is_no_head_where_outputs_are_not_linear_in_it(tail: str, scale: float) -> None:
    model = WithTail(NOT_LINEAR[tail], scale).double()
    with pytest.raises(HeadNotFound, match=r"relative_flatness: .*not linear.*'head'.*head=\.\.\."):
        kappa(model)
    assert measure(model, (X, Y), ["parameter_norm"])["parameter_norm"].value > 0


def test_a_model_without_linear_layers_has_no_head() -> None:
    model = nn.Sequential(nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 3, 5), nn.Flatten()).double()
    with pytest.raises(HeadNotFound, match="calls no linear layer"):
        kappa(model)


def test_a_layer_called_by_keyword_is_the_head_as_well() -> None:
    class ByKeyword(WithTail):
        def forward(self, x: Tensor) -> Tensor:
            return self.tail(self.head(input=torch.tanh(self.body(x))))

    for tail in (TAILS["none"], TAILS["temperature"]):
        assert kappa(ByKeyword(tail).double()) == kappa(WithTail(tail).double())


class TwoHeads(WithTail):
    """An auxiliary head is called last, and its output left out."""

    def __init__(self) -> None:
        super().__init__(lambda z: z)
        self.auxiliary = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        outputs = super().forward(x)
        return outputs, self.auxiliary(outputs)


def test_the_head_is_the_layer_whose_output_is_returned() -> None:
    model, plain = TwoHeads().double(), WithTail(lambda z: z).double()
    plain.load_state_dict(model.state_dict(), strict=False)
    assert kappa(model) == pytest.approx(kappa(plain))
    assert kappa(model, head=model.head) == pytest.approx(kappa(plain))


def test_a_head_that_is_given_must_be_one_of_the_model() -> None:
    model = TwoHeads().double()
    with pytest.raises(HeadNotFound, match=r"not a linear layer.*of this model"):
        kappa(model, head=nn.Linear(3, 3))
    with pytest.raises(HeadNotFound, match="tried 'auxiliary'"):
        kappa(model, head=model.auxiliary)


def test_a_shared_weight_is_the_heads_own() -> None:
    model = WithTail(lambda z: z).double()
    model.extra = nn.Linear(3, 3).double()
    model.extra.weight = model.head.weight
    assert kappa(model) == pytest.approx(brute_force(model), rel=1e-9)


class Adapted(nn.Module):
    """A sum of two linear layers, as an adapter of low rank beside a frozen layer is."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.base = nn.Linear(5, 3)
        self.down = nn.Linear(5, 2, bias=False)
        self.up = nn.Linear(2, 3, bias=False)
        self.scale = scale
        with torch.no_grad():
            self.up.weight.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scale * self.up(self.down(x))


def test_a_sum_of_linear_layers_has_no_head_of_its_own() -> None:
    model = Adapted(0.01).double()
    with pytest.raises(HeadNotFound, match=r"several layers \('up', 'base'\); pass head="):
        kappa(model)
    plain = nn.Sequential(model.base)
    assert kappa(model, head=model.base) == pytest.approx(kappa(plain), rel=1e-12)
    assert kappa(model, head=model.up) == 0
    assert kappa(Adapted(0.0).double(), head=None) > 0


def test_the_head_may_be_given_by_name() -> None:
    model = TwoHeads().double()
    assert kappa(model, head="head") == kappa(model, head=model.head)
    with pytest.raises(HeadNotFound, match=r"'hed', is no linear layer.*did you mean 'head'"):
        kappa(model, head="hed")


class Positions(nn.Module):
    """A head that is applied at each of several positions."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(5, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(x))).flatten(1)


AT_POSITIONS = X.expand(3, 9, 5).transpose(0, 1) * torch.arange(1.0, 4.0, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("given", [None, "head"])
@pytest.mark.parametrize(
    "asked",
    [{"relative_flatness": {}}, {"information_geometric_sharpness": {"parameters": "head"}}],
    ids=["relative_flatness", "information_geometric_sharpness"],
)
def test_a_head_whose_outputs_at_several_positions_stand_side_by_side_is_refused(
    given: str | None, asked: dict[str, dict[str, str]]
) -> None:
    model = Positions().double()
    told = "the last linear layer called" if given is None else "the head given"
    with pytest.raises(HeadNotFound, match=f"has 12 outputs a sample, and {told}, 'head', has 4"):
        measure(model, [(AT_POSITIONS, Y)], asked, head=given)


def test_measures_of_a_head_at_several_positions_are_left_out_of_the_defaults() -> None:
    with pytest.warns(UserWarning, match="relative_flatness: the model has 12 outputs a sample"):
        found = measure(Positions().double(), [(AT_POSITIONS, Y)])
    assert isinstance(found.failed["relative_flatness"], HeadNotFound)
    assert "gradient_norm" in found


def test_a_head_at_a_single_position_is_one() -> None:
    found = measure(Positions().double(), [(AT_POSITIONS[:, :1], Y)], ["relative_flatness"])["relative_flatness"]
    assert found.details["layer"] == "head"
