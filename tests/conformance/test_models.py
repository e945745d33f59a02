"""What every registered model promises."""

import copy

import pytest
import torch
from torch import nn

from sharpscope.errors import SpecError
from sharpscope.models import MODELS, build
from sharpscope.seeding import Stream

IMAGES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 9, 5)]
SEQUENCES = [(6, 9), (25, 56)]
CLASSES = 7


def shapes_of(name):
    """Return the shapes that a model must take: those of images, or of sequences if it refuses images."""
    try:
        with torch.device("meta"):
            MODELS[name](IMAGES[0], CLASSES)
    except SpecError:
        return SEQUENCES
    return IMAGES


@pytest.fixture(scope="module", params=list(MODELS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def shape(name):
    return shapes_of(name)[0]


@pytest.fixture(scope="module")
def built(name, shape):
    """The model as it is built, which no test changes."""
    return build(name, shape, CLASSES, Stream(0, "init"))


@pytest.fixture
def model(built):
    return copy.deepcopy(built)


def samples(shape, count=3, device="cpu"):
    if len(shape) == 2:
        positions, symbols = shape
        return torch.randint(0, symbols, (count, positions), generator=Stream("inputs").torch()).to(device)
    return torch.randn(count, *shape, generator=Stream("inputs").torch()).to(device)


def test_has_a_summary(name):
    assert MODELS[name].summary


def test_maps_samples_of_any_size_to_one_output_a_class(name):
    for shape in shapes_of(name):
        with torch.device("meta"):
            model = MODELS[name](shape, CLASSES)
            outputs = model(samples(shape, 4, "meta"))
        assert outputs.shape == (4, CLASSES)
        assert all(parameter.device.type == "meta" for parameter in model.parameters())


def test_refuses_samples_of_the_wrong_kind(name):
    wrong = IMAGES[0] if shapes_of(name) is SEQUENCES else SEQUENCES[0]
    with pytest.raises(SpecError, match=f"the model '{name}' takes"):
        build(name, wrong, CLASSES, Stream(0, "init"))


def test_trains_every_parameter(model, shape):
    nn.functional.cross_entropy(model(samples(shape)), torch.tensor([0, 1, 2])).backward()
    assert [n for n, parameter in model.named_parameters() if parameter.grad is None] == []


@torch.no_grad()
def test_is_a_function_of_each_sample_in_eval_mode(model, shape):
    inputs = samples(shape, 5)
    model.eval()
    together = model(inputs)
    assert torch.equal(together, model(inputs))
    apart = torch.cat([model(inputs[:2]), model(inputs[2:])])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_ends_in_a_linear_layer(model, shape):
    found = []
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(lambda module, inputs, output: found.append(output))
    outputs = model.eval()(samples(shape))
    assert found[-1] is outputs
    assert layers[-1].out_features == CLASSES


def test_initialization_depends_on_the_stream_alone_and_leaves_the_global_random_state(name, shape, built):
    def initial(seed):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        model = build(name, shape, CLASSES, Stream(seed, "init"))
        assert torch.equal(torch.get_rng_state(), before)
        return model.state_dict()

    first, again, other = built.state_dict(), initial(0), initial(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
