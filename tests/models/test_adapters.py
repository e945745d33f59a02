import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from sharpscope.errors import SpecError
from sharpscope.models import MODELS, build
from sharpscope.seeding import Stream

INIT = Stream(0, "init")
SMALL = {"arguments": {"n_layer": 1, "n_head": 2, "n_embd": 8}}


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="the extra transformers is not installed")


@pytest.mark.parametrize(("name", "shape"), [("timm:resnet18", (3, 8, 8)), ("transformers:gpt2", (6, 9))])
def test_without_the_package_the_extra_is_named(monkeypatch, name, shape):
    package = name.partition(":")[0]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SpecError, match=rf"model '{name}' needs the package {package} .*'sharpscope\[{package}\]'"):
        build(name, shape, 3, INIT)


def test_timm_is_asked_for_inputs_and_outputs_that_fit(monkeypatch):
    asked = []

    def create_model(name, *, pretrained, num_classes, in_chans, width=4):
        if name == "missing":
            raise RuntimeError("Unknown model (missing)")
        asked.append(pretrained)
        return nn.Sequential(nn.Conv2d(in_chans, width, 1), nn.Flatten(), nn.Linear(width * 4, num_classes))

    library = ModuleType("timm")
    library.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", library)
    model = build("timm:small", (2, 2, 2), 5, INIT, arguments={"width": 6})
    assert model[0].weight.shape == (6, 2, 1, 1)
    assert model(torch.zeros(3, 2, 2, 2)).shape == (3, 5)
    again = build("timm:small", (2, 2, 2), 5, INIT, arguments={"width": 6})
    assert torch.equal(model[0].weight, again[0].weight)
    build("timm:small", (2, 2, 2), 5, INIT, pretrained=True)
    # Where only shapes are tried, weights cannot be loaded.
    with torch.device("meta"):
        MODELS["timm:small"]((2, 2, 2), 5, pretrained=True)
    assert asked == [False, False, True, False]
    with pytest.raises(SpecError, match=r"'timm:missing' cannot be made \(RuntimeError: Unknown model"):
        build("timm:missing", (2, 2, 2), 5, INIT)
    with pytest.raises(SpecError, match=r"the model 'timm:small' takes images .* got \(2,\)"):
        build("timm:small", (2,), 5, INIT)


def test_timm_itself_makes_a_network():
    pytest.importorskip("timm", reason="the extra timm is not installed")
    model = build("timm:resnet18", (1, 32, 32), 5, INIT).eval()
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 5)


@torch.no_grad()
def test_transformers_makes_a_classifier_of_sequences(transformers):
    model = build("transformers:gpt2", (6, 9), 3, INIT, **SMALL).eval()
    short = torch.tensor([[4, 2, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]])
    outputs = model(short)
    assert outputs.shape == (2, 3)
    torch.testing.assert_close(outputs[:1], model(short[:1, :2]))
    again = build("transformers:gpt2", (6, 9), 3, INIT, **SMALL).eval()
    assert torch.equal(again(short), outputs)


@torch.no_grad()
def test_transformers_makes_a_classifier_of_images(transformers):
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = build("transformers:vit", (1, 8, 8), 3, INIT, arguments={"patch_size": 4, **small}).eval()
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


def test_what_transformers_refuses_is_told(transformers):
    with pytest.raises(SpecError, match="'transformers:gpt2' cannot be made"):
        build("transformers:gpt2", (6, 9), 3, INIT, arguments={"n_head": 3, "n_embd": 8})


def test_families_are_listed():
    assert set(MODELS.families) == {"timm:NAME", "transformers:NAME"}
