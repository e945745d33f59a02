import pytest
import torch
from torch import nn

from sharpscope.training.modes import channels_last, denormals_flushed, mode


@pytest.mark.parametrize("channels", [1, 3])
def test_outputs_have_the_channels_last_within_the_block_only(channels):
    layer = nn.Conv2d(channels, 8, 3)
    weight, values = layer.weight, layer.weight.detach().clone()
    inputs = torch.zeros(2, channels, 6, 6)
    with channels_last(layer):
        assert layer(inputs).is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(layer.weight, values)
    assert layer(inputs).is_contiguous()
    assert layer.weight is weight
    assert layer.weight.stride() == values.stride()


def test_models_without_convolutions_in_the_plane_pass_through():
    model = nn.Sequential(nn.Conv3d(1, 2, 3), nn.Linear(2, 2))
    strides = [parameter.stride() for parameter in model.parameters()]
    with channels_last(model):
        assert [parameter.stride() for parameter in model.parameters()] == strides


@pytest.mark.parametrize("train", [True, False])
def test_each_module_gets_its_own_mode_back(train):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].eval()
    with mode(model, train=train):
        assert [module.training for module in model.modules()] == [train] * 3
    assert [module.training for module in model.modules()] == [True, False, True]


def test_denormals_are_flushed_within_the_block_alone():
    def flushed():
        return bool(torch.full((1,), torch.finfo(torch.float32).tiny).div(2) == 0)

    before = flushed()
    with denormals_flushed():
        assert flushed() or not torch.set_flush_denormal(True)
        with denormals_flushed():
            pass
        assert flushed() or not torch.set_flush_denormal(True)
    assert flushed() == before
