"""What a model does inside is seen before anything is measured: switched off, put back, or refused."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sharpscope import measure
from sharpscope.curvature.risk.precision import without_autocast
from sharpscope.errors import NotDeterministic, SharpscopeError

X = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(24) % 3
MEASURES = ["sam_sharpness", "gradient_norm"]


class Net(nn.Module):
    """Two layers, with something done to what is between them."""

    def __init__(self, between: Callable[[Net, Tensor], Tensor] = lambda self, hidden: hidden) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).cos().view(parameter.shape))
        self.register_buffer("mean", torch.zeros(6))
        self.plain, self.calls, self.between = torch.zeros(6), 0, between

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self, torch.tanh(self.first(x))))


class Within(Net):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x).float()


class Decorated(Net):
    @torch.autocast("cpu", torch.bfloat16)
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).float()


class Again(Net):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False), torch.amp.autocast("cpu", torch.float16):
            return super().forward(x).float()


@pytest.mark.parametrize("kind", [Within, Decorated, Again])
def test_autocast_inside_a_model_is_switched_off(kind: type[Net]) -> None:
    expected = measure(Net(), (X, Y), MEASURES)
    model = kind()
    rounded = model(X)
    found = measure(model, (X, Y), MEASURES)
    assert {name: found[name].value for name in MEASURES} == {name: expected[name].value for name in MEASURES}
    # Only while it is measured.
    assert torch.equal(model(X), rounded)
    assert not torch.equal(rounded, Net()(X))


def test_autocast_is_switched_off_in_blocks_of_this_thread_only() -> None:
    device, layer = torch.device("cpu"), nn.Linear(5, 2)
    enter = torch.autocast.__enter__
    with without_autocast(device), without_autocast(device), torch.autocast("cpu", torch.bfloat16):
        assert layer(X).dtype == torch.float32
        seen: list[torch.dtype] = []

        def elsewhere() -> None:
            with torch.autocast("cpu", torch.bfloat16):
                seen.append(layer(X).dtype)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert seen == [torch.bfloat16]
    assert torch.autocast.__enter__ is enter
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(X).dtype == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")


def set_autocast(model: Net, hidden: Tensor) -> Tensor:
    torch.set_autocast_enabled("cpu", True)
    try:
        product = hidden @ torch.eye(6)
    finally:
        torch.set_autocast_enabled("cpu", False)
    return product.float()


@pytest.mark.parametrize(
    "between",
    [
        lambda model, hidden: hidden.bfloat16().float(),
        lambda model, hidden: (hidden.half() * 2).to(hidden),
        lambda model, hidden: torch.empty(hidden.shape, dtype=torch.bfloat16).copy_(hidden).float(),
        set_autocast,
    ],
)
def test_half_precision_inside_is_refused(between: Callable[[Net, Tensor], Tensor]) -> None:
    with pytest.raises(SharpscopeError, match=r"computes in torch.*16 inside.*compute in float32"):
        measure(Net(between), (X, Y), MEASURES)


@pytest.mark.parametrize(
    "between",
    [
        # A constant, and one that is made for another size.
        lambda model, hidden: hidden + torch.ones(6, dtype=torch.bfloat16).float(),
        lambda model, hidden: hidden + torch.ones(6, dtype=torch.bfloat16),
    ],
)
def test_constants_in_half_precision_are_measured(between: Callable[[Net, Tensor], Tensor]) -> None:
    expected = measure(Net(lambda model, hidden: hidden + 1), (X, Y), MEASURES)
    found = measure(Net(between), (X, Y), MEASURES)
    assert [found[name].value for name in MEASURES] == pytest.approx([expected[name].value for name in MEASURES])


def running_buffer(model: Net, hidden: Tensor) -> Tensor:
    model.mean = 0.9 * model.mean + 0.1 * hidden.detach().mean(dim=0)
    return hidden - model.mean


def running_tensor(model: Net, hidden: Tensor) -> Tensor:
    model.plain = 0.9 * model.plain + 0.1 * hidden.detach().mean(dim=0)
    return hidden - model.plain


def written_tensor(model: Net, hidden: Tensor) -> Tensor:
    model.plain.lerp_(hidden.detach().mean(dim=0), 0.1)
    return hidden - model.plain


def counted(model: Net, hidden: Tensor) -> Tensor:
    model.calls += 1
    return hidden * model.calls


@pytest.mark.parametrize(
    ("between", "name"),
    [(running_buffer, "mean"), (running_tensor, "plain"), (written_tensor, "plain"), (counted, "calls")],
)
def test_what_a_forward_pass_assigns_anew_and_depends_on_is_refused(
    between: Callable[[Net, Tensor], Tensor], name: str
) -> None:
    model = Net(between)
    with pytest.raises(NotDeterministic, match=f"'{name}'.*only where self.training"):
        measure(model, (X, Y), MEASURES)
    assert_untouched(model)


def kept(model: Net, hidden: Tensor) -> Tensor:
    model.plain, model.latest = hidden, hidden.sum()
    model.calls += 1
    return hidden


def same_again(model: Net, hidden: Tensor) -> Tensor:
    model.mean = model.mean.clamp(min=0)
    return hidden


@pytest.mark.parametrize("between", [kept, same_again])
def test_what_a_forward_pass_only_keeps_is_measured_and_put_back(between: Callable[[Net, Tensor], Tensor]) -> None:
    expected = measure(Net(), (X, Y), MEASURES)
    model = Net(between)
    found = measure(model, (X, Y), MEASURES)
    assert [found[name].value for name in MEASURES] == [expected[name].value for name in MEASURES]
    assert_untouched(model)


def assert_untouched(model: Net) -> None:
    """See that a model has what it was made with."""
    fresh = Net()
    assert model.calls == 0
    assert torch.equal(model.plain, fresh.plain)
    assert torch.equal(model.mean, fresh.mean)
    assert not hasattr(model, "latest")
