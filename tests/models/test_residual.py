"""Where residual branches end: what the declared module returns is what is added to the skip."""

import pytest
import torch
from torch import nn

from sharpscope.models import MODELS, build
from sharpscope.models.attention import Attention, Block
from sharpscope.models.residual import Residual, residual_branches
from sharpscope.models.resnet import BasicBlock, Bottleneck
from sharpscope.seeding import Stream


@pytest.mark.parametrize(
    ("name", "shape", "ends"),
    [
        ("resnet8", (1, 8, 8), [f"blocks.{block}.bn2" for block in range(3)]),
        ("resnet50", (3, 32, 32), [f"blocks.{block}.bn3" for block in range(16)]),
        ("vit", (3, 32, 32), [f"blocks.{block}.{end}" for block in range(6) for end in ("attention", "dropout")]),
        ("gpt", (25, 56), [f"blocks.{block}.{end}" for block in range(4) for end in ("attention", "dropout")]),
        ("vgg11", (3, 32, 32), []),
        ("mlp", (4,), []),
    ],
)
def test_branches_are_declared_from_the_input_on(name, shape, ends):
    with torch.device("meta"):
        model = MODELS[name](shape, 10)
    names = {module: key for key, module in model.named_modules()}
    assert [names[branch.end] for branch in residual_branches(model)] == ends


def small_blocks():
    with Stream(0).governing():
        basic, bottleneck = BasicBlock(4, 8, 2), Bottleneck(4, 8, 1)
        attentive = Block(Attention(4, 2, 2), 4, 8)
    return [
        (basic, lambda x: torch.relu(basic.shortcut(x)), (2, 4, 6, 6)),
        (bottleneck, lambda x: torch.relu(bottleneck.shortcut(x)), (2, 4, 6, 6)),
        (attentive, lambda x: x, (2, 3, 4)),
    ]


@torch.no_grad()
@pytest.mark.parametrize(("block", "skip", "shape"), small_blocks(), ids=["basic", "bottleneck", "attention"])
def test_the_skips_are_left_when_the_branches_return_nothing(block, skip, shape):
    x = torch.randn(shape, generator=Stream(0, "x").torch())
    block.eval()
    for branch in residual_branches(block):
        assert branch.owner is block
        branch.end.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    torch.testing.assert_close(block(x), skip(x))


def test_a_network_may_declare_the_branches_of_its_blocks():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

        def residual_branches(self):
            return [self.second]

    model = nn.Sequential(Network(), build("resnet8", (1, 8, 8), 2, Stream(0)))
    assert isinstance(model[0], Residual)
    first, *others = residual_branches(model)
    assert first.end is model[0].second
    assert len(others) == 3
