import math

import pytest
import torch
from torch import nn

from sharpscope.errors import SpecError, UnknownName
from sharpscope.models import MODELS, build
from sharpscope.seeding import Stream

INIT = Stream(0, "init")


def size(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters"),
    [
        # Stem 176, stages 4,672 + 14,528 + 57,728, head 650.
        ("resnet8", (1, 8, 8), 10, 77_754),
        # He et al. (2016) count 269,722 and 464,154 without the projections: 512 + 64 and 2,048 + 128 weights.
        ("resnet20", (3, 32, 32), 10, 269_722 + 2_752),
        ("resnet32", (3, 32, 32), 10, 464_154 + 2_752),
        # torchvision's 11,689,512, less its 7x7 stem (9,408) and head (513,000), plus ours (1,728 and 5,130).
        ("resnet18", (3, 32, 32), 10, 11_689_512 - 9_408 - 513_000 + 1_728 + 5_130),
        # torchvision's 21,797,672, likewise.
        ("resnet34", (3, 32, 32), 10, 21_797_672 - 9_408 - 513_000 + 1_728 + 5_130),
        # torchvision's vgg11_bn and vgg19_bn, less their classifiers of 123,642,856 and the 2,752 and 5,504 biases of
        # their convolutions, plus a hidden layer of 512 with BatchNorm (262,656 + 1,024) and the head.
        ("vgg11", (3, 32, 32), 10, 132_868_840 - 123_642_856 - 2_752 + 262_656 + 1_024 + 5_130),
        ("vgg19", (3, 32, 32), 10, 143_678_248 - 123_642_856 - 5_504 + 262_656 + 1_024 + 5_130),
    ],
)
def test_networks_have_the_published_sizes(name, shape, classes, parameters):
    with torch.device("meta"):
        assert size(MODELS[name](shape, classes)) == parameters


def test_resnet_halves_the_side_and_doubles_the_channels_from_stage_to_stage():
    model = build("resnet8", (1, 8, 8), 10, INIT).eval()
    shapes = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    model(torch.zeros(1, 1, 8, 8))
    assert shapes == [(16, 8, 8), (32, 4, 4), (64, 2, 2)]


def test_convolutions_start_from_hes_distribution():
    model = build("resnet8", (1, 8, 8), 10, INIT, width=32)
    weight = model.blocks[2].conv2.weight
    expected = math.sqrt(2 / (128 * 9))
    # The standard deviation of n normal draws has a relative standard error of 1 / sqrt(2n).
    assert weight.std().item() == pytest.approx(expected, rel=4 / math.sqrt(2 * weight.numel()))
    assert weight.mean().item() == pytest.approx(0, abs=4 * expected / math.sqrt(weight.numel()))


def test_mlp_is_what_its_options_say():
    model = build("mlp", (3,), 2, INIT, hidden=[5, 4], activation="tanh", bias=False)
    first, second, head = (module for module in model if isinstance(module, nn.Linear))
    inputs = torch.randn(6, 3, generator=INIT.torch())
    expected = torch.tanh(torch.tanh(inputs @ first.weight.T) @ second.weight.T) @ head.weight.T
    torch.testing.assert_close(model(inputs), expected)
    assert size(model) == 3 * 5 + 5 * 4 + 4 * 2


def test_mlp_without_hidden_layers_is_linear():
    assert size(build("mlp", (1, 8, 8), 10, INIT, hidden=[])) == 64 * 10 + 10


def test_cnn_is_what_its_options_say():
    assert size(build("cnn", (3, 8, 8), 10, INIT, channels=[4])) == (3 * 9 * 4 + 4) + (4 * 10 + 10)
    normalized = build("cnn", (3, 8, 8), 10, INIT, channels=[4], batch_norm=True)
    assert size(normalized) == 3 * 9 * 4 + 2 * 4 + (4 * 10 + 10)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "mlp"])
def test_networks_for_images_refuse_vectors(name):
    with pytest.raises(SpecError, match=rf"'{name}' takes images .* got \(2,\)"):
        build(name, (2,), 2, INIT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widht": 8}, "did you mean 'width'"),
        ({"width": 0}, "greater than 0"),
        ({"width": "wide"}, "valid integer"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(SpecError, match=message):
        build("resnet8", (1, 8, 8), 10, INIT, **options)


def test_an_unknown_model_is_refused_with_the_near_names():
    with pytest.raises(UnknownName, match="did you mean 'resnet8'"):
        build("resnet9", (1, 8, 8), 10, INIT)


def test_a_model_is_built_on_the_cpu_whatever_device_is_the_default():
    with torch.device("meta"):
        model = build("mlp", (2,), 2, INIT)
    assert next(model.parameters()).device.type == "cpu"
