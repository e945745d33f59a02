"""Convolutions that have their channels last give the gradients that they give with the channels first."""

from __future__ import annotations

import subprocess
import sys
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharpscope import measure
from sharpscope.curvature.risk.layout import VECTOR, may_have_channels_last
from sharpscope.training.modes import channels_last

CPU = torch.device("cpu")


def gradients(layer: nn.Module, inputs: Tensor, memory_format: torch.memory_format) -> list[Tensor]:
    """Return the outputs of a layer, and the gradients of a weighted sum of them in inputs and weight."""
    weight = layer.weight.detach().clone(memory_format=memory_format).requires_grad_()
    inputs = inputs.clone(memory_format=memory_format).requires_grad_()
    outputs = torch.func.functional_call(layer, {"weight": weight}, (inputs,))
    seed = torch.linspace(-1, 1, outputs.numel()).view(outputs.shape).to(memory_format=memory_format)
    return [outputs.detach(), *torch.autograd.grad(outputs, (inputs, weight), seed)]


LAYERS = [
    *product([nn.Conv2d], [1], [1, 2, (1, 2)]),
    *product([nn.Conv2d], [2, 3], [1, 2]),
    (nn.ConvTranspose2d, 1, 2),
]


def compare(threads: int) -> int:
    """Compare both layouts for all layers that may have the channels last; return how many there are."""
    torch.set_num_threads(threads)
    compared = 0
    for (kind, kernel, stride), channels in product(LAYERS, range(1, 33)):
        if kernel > 1 and channels % 3:
            continue
        for groups in {1, 2 - channels % 2, channels}:
            # The outputs of a transposed convolution are the larger image, as the inputs of another are.
            sizes = (8 * groups, channels) if kind is nn.ConvTranspose2d else (channels, 8 * groups)
            more = {"output_padding": 1} if kind is nn.ConvTranspose2d else {}
            layer = kind(*sizes, kernel, stride, padding=kernel // 2, groups=groups, bias=False, **more)
            if not may_have_channels_last(layer, CPU):
                continue
            compared += 1
            inputs = torch.randn(4, layer.in_channels, 6, 6)
            first, last = (gradients(layer, inputs, f) for f in (torch.contiguous_format, torch.channels_last))
            for expected, found in zip(first, last, strict=True):
                assert float((expected - found).abs().max()) <= 1e-5 * float(expected.abs().max()), layer
    return compared


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_may_have_the_channels_last_has_the_same_gradients(threads: int) -> None:
    # In a process of its own: what goes wrong may end it, or never come back.
    script = f"import sys; sys.path[:0] = {sys.path!r}; from {__name__} import compare; print(compare({threads}))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    assert int(found.stdout) > 300


class Functional(nn.Module):
    """A strided convolution that is no module, and one that is."""

    def __init__(self, channels: int, *, of_a_matrix: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, 3, padding=1)
        self.weight = nn.Parameter(torch.randn(4, channels) / channels)
        if not of_a_matrix:
            self.weight = nn.Parameter(self.weight.detach()[..., None, None])

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        return F.conv2d(x, self.weight.view(4, -1, 1, 1), stride=2).mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (nn.Conv2d(2, 8, 1, stride=2), False),
        (nn.Conv2d(VECTOR - 1, 8, 1, stride=(1, 2)), False),
        (nn.Conv2d(VECTOR, 8, 1, stride=2), True),
        (nn.Conv2d(2, 8, 1), True),
        (nn.Conv2d(2, 8, 2, stride=2), True),
        (nn.Conv2d(4, 8, 1, stride=2, groups=2), True),
        (nn.ConvTranspose2d(16, 2, 1, stride=2, output_padding=1), False),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 8, 1)), True),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 8, 1, stride=2)), False),
        (nn.Sequential(nn.Conv2d(1, 16, 3), nn.Conv2d(16, 8, 1, stride=2)), True),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 1, stride=2)), False),
        (Functional(4), False),
        (Functional(VECTOR), False),
    ],
)
def test_which_models_may_have_the_channels_last(model: nn.Module, expected: bool) -> None:
    assert may_have_channels_last(model, CPU) is expected
    assert may_have_channels_last(model, torch.device("cuda"))
    strides = [parameter.stride() for parameter in model.parameters()]
    with channels_last(model):
        assert ([parameter.stride() for parameter in model.parameters()] != strides) is expected
    assert [parameter.stride() for parameter in model.parameters()] == strides


@pytest.mark.parametrize("channels", [1, 2])
def test_the_layout_that_a_model_and_its_data_come_in_makes_no_difference(channels: int) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(16, channels, 8, 8), torch.arange(16) % 4
    model = nn.Sequential(nn.Conv2d(channels, 4, 1, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(64, 4))
    expected = measure(model, (x, y), ["gradient_norm"])["gradient_norm"].value
    last = torch.empty_strided(x.shape, (64 * channels, 1, 8 * channels, channels)).copy_(x)
    found = measure(model.to(memory_format=torch.channels_last), (last, y), ["gradient_norm"])["gradient_norm"].value
    assert found == expected


@pytest.mark.parametrize("of_a_matrix", [False, True])
def test_a_strided_convolution_that_is_no_module_is_measured_right(of_a_matrix: bool) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(16, 1, 8, 8), torch.arange(16) % 4
    model = Functional(3, of_a_matrix=of_a_matrix)
    loss = F.cross_entropy(model(x), y)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
    found = measure(model, (x, y), ["gradient_norm"])["gradient_norm"].value
    assert found == pytest.approx(float(gradient.norm()), rel=1e-4)
