"""What every registered model promises."""

import pytest
import torch
from torch import nn

from sharpscope.models import MODELS, build
from sharpscope.seeding import Stream

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 9, 5)]
CLASSES = 7


@pytest.fixture(params=list(MODELS))
def name(request):
    return request.param


@pytest.fixture
def model(name):
    return build(name, (1, 8, 8), CLASSES, Stream(0, "init")).eval()


def samples(shape, count=3):
    return torch.randn(count, *shape, generator=Stream("inputs").torch())


def test_has_a_summary(name):
    assert MODELS[name].summary


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_maps_images_of_any_size_and_channels_to_one_output_a_class(name, shape):
    with torch.device("meta"):
        model = MODELS[name](shape, CLASSES)
        outputs = model(torch.empty(4, *shape))
    assert outputs.shape == (4, CLASSES)
    assert all(parameter.device.type == "meta" for parameter in model.parameters())


def test_trains_every_parameter(name):
    model = build(name, (1, 8, 8), CLASSES, Stream(0, "init"))
    nn.functional.cross_entropy(model(samples((1, 8, 8))), torch.tensor([0, 1, 2])).backward()
    assert [n for n, parameter in model.named_parameters() if parameter.grad is None] == []


@torch.no_grad()
def test_is_a_function_of_each_sample_in_eval_mode(model):
    inputs = samples((1, 8, 8), 5)
    together = model(inputs)
    assert torch.equal(together, model(inputs))
    apart = torch.cat([model(inputs[:2]), model(inputs[2:])])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_ends_in_a_linear_layer(model):
    found = []
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(lambda module, inputs, output: found.append(output))
    outputs = model(samples((1, 8, 8)))
    assert found[-1] is outputs
    assert layers[-1].out_features == CLASSES


def test_initialization_depends_on_the_stream_alone(name):
    def initial(seed, noise):
        torch.manual_seed(noise)
        return build(name, (1, 8, 8), CLASSES, Stream(seed, "init")).state_dict()

    first, again, other = initial(0, 1), initial(0, 2), initial(1, 1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_building_leaves_the_global_random_state_alone(name):
    before = torch.get_rng_state()
    build(name, (1, 8, 8), CLASSES, Stream(0, "init"))
    assert torch.equal(torch.get_rng_state(), before)
