import math

import pytest
import torch
from torch import nn

from sharpscope.errors import SpecError, UnknownName
from sharpscope.models import MODELS, build
from sharpscope.models.attention import Attention
from sharpscope.models.vit import Patches
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
        # With the stem of ImageNet they are torchvision's own.
        ("resnet18", (3, 224, 224), 1000, 11_689_512),
        ("resnet34", (3, 224, 224), 1000, 21_797_672),
        ("resnet50", (3, 224, 224), 1000, 25_557_032),
        # Patches 48 * 512 + 512, class token 512, positions 65 * 512, blocks of 3 * 512 * 384 (no biases),
        # 384 * 512 + 512, 2 * 512 * 256 + 256 + 512 and two LayerNorms of 1,024, LayerNorm 1,024, head 5,130.
        ("vit", (3, 32, 32), 10, 25_088 + 512 + 33_280 + 6 * (589_824 + 197_120 + 262_912 + 2_048) + 1_024 + 5_130),
        # Embeddings 56 * 128 and 25 * 128, blocks of 3 * 128 * 128 + 384, 128 * 128 + 128, 2 * 128 * 512 + 640 and two
        # LayerNorms of 256, LayerNorm 256, head 15 * 128 without biases.
        ("gpt", (25, 56), 15, 7_168 + 3_200 + 4 * (49_536 + 16_512 + 131_712 + 512) + 256 + 1_920),
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


@pytest.mark.parametrize(
    ("shape", "options", "side"),
    [
        ((3, 64, 64), {}, 64),
        # 7x7 of stride 2 and pooling of stride 2: a quarter.
        ((3, 65, 96), {}, 17),
        ((3, 64, 64), {"stem": "imagenet"}, 16),
        ((3, 96, 96), {"stem": "small"}, 96),
    ],
)
def test_the_stem_of_a_resnet_suits_the_size_of_the_images(shape, options, side):
    with torch.device("meta"):
        model = MODELS["resnet18"](shape, 10, **options)
        assert model.stem(torch.empty(2, *shape)).shape[2] == side


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


@pytest.mark.parametrize("name", [name for name in MODELS if name not in {"mlp", "gpt"}])
def test_networks_for_images_refuse_vectors(name):
    with pytest.raises(SpecError, match=rf"'{name}' takes images .* got \(2,\)"):
        build(name, (2,), 2, INIT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widht": 8}, "did you mean 'width'"),
        ({"width": 0}, "greater than 0"),
        ({"width": "wide"}, "expected a whole number"),
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


def test_dropout_drops_in_training_alone_and_moves_no_weights():
    for name, shape in (("mlp", (4,)), ("vgg11", (1, 8, 8)), ("vit", (1, 8, 8)), ("gpt", (6, 9))):
        small = {"vit": {"dim": 8, "depth": 1}, "gpt": {"dim": 8}, "vgg11": {"width": 4}}.get(name, {})
        plain, dropping = (build(name, shape, 2, INIT, dropout=share, **small) for share in (0.0, 0.5))
        torch.manual_seed(0)
        x = torch.ones(8, 6, dtype=torch.int64) if name == "gpt" else torch.randn(8, *shape, generator=INIT.torch())
        torch.testing.assert_close(plain.eval()(x), dropping.eval()(x))
        dropping.train()
        assert not torch.equal(dropping(x), dropping(x))


def test_shifted_patches_are_those_of_the_image_moved_half_a_patch_to_each_corner():
    patches = Patches(1, 4, 80, shifted=True)
    patches.norm, patches.project = torch.nn.Identity(), torch.nn.Identity()
    image = torch.arange(64.0).view(1, 1, 8, 8)
    tokens = patches(image).view(4, 5, 4, 4)
    padded = torch.nn.functional.pad(image, (2, 2, 2, 2))[0, 0]
    # Right and down means that what stood two to the left and two above comes into the patch.
    for place, (across, down) in enumerate([(0, 0), (2, 2), (2, -2), (-2, 2), (-2, -2)]):
        assert torch.equal(tokens[3, place], padded[6 - down : 10 - down, 6 - across : 10 - across])


def test_locality_attention_is_softmax_of_scaled_products_without_oneself():
    with INIT.governing():
        attention = Attention(6, 2, 3, tokens=5, locality=True)
    attention.temperature.data.fill_(math.log(0.7))
    x = torch.randn(2, 5, 6, generator=INIT.torch())
    q, k, v = attention.qkv(x).view(2, 5, 3, 2, 3).unbind(2)
    products = 0.7 * torch.einsum("nqhd,nkhd->nhqk", q, k)
    weights = products.masked_fill(torch.eye(5, dtype=torch.bool), -math.inf).softmax(-1)
    expected = attention.out(torch.einsum("nhqk,nkhd->nqhd", weights, v).reshape(2, 5, 6))
    torch.testing.assert_close(attention(x), expected)


def test_locality_attention_starts_at_the_usual_temperature():
    assert Attention(6, 2, 16, tokens=5, locality=True).temperature.exp().item() == pytest.approx(1 / 4)


@torch.no_grad()
def test_gpt_reads_up_to_the_last_symbol_and_never_the_empty_places():
    model = build("gpt", (6, 9), 3, INIT, dim=8).eval()
    short = torch.tensor([[4, 2, 0, 0, 0, 0]])
    torch.testing.assert_close(model(short), model(short[:, :2]))
    # An empty place within a name is a symbol like others.
    assert not torch.allclose(model(torch.tensor([[4, 0, 2, 0, 0, 0]])), model(short))
    assert model(torch.zeros(1, 6, dtype=torch.int64)).isfinite().all()


@torch.no_grad()
def test_gpt_is_causal():
    model = build("gpt", (6, 9), 3, INIT, dim=8).eval()
    states = []
    model.norm.register_forward_hook(lambda module, inputs, output: states.append(output))
    model(torch.tensor([[1, 2, 3, 4, 5, 6]]))
    model(torch.tensor([[1, 2, 3, 7, 8, 1]]))
    torch.testing.assert_close(states[0][:, :3], states[1][:, :3])
    assert not torch.allclose(states[0][:, 3], states[1][:, 3])


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(SpecError, match="'dim' of model 'gpt' is a multiple of its 4 heads, got 10"):
        build("gpt", (6, 9), 3, INIT, dim=10)


def test_a_network_of_the_users_own_is_built_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "own_models.py").write_text(
        "from torch import nn\n"
        "def linear(shape, classes, *, bias: bool = True):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0], classes, bias=bias))\n"
    )
    monkeypatch.chdir(tmp_path)
    assert size(build("own_models:linear", (3,), 2, INIT, bias=False)) == 6
