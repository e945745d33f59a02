"""Training with a compiled model, against training with the model as it is."""

import json
import shutil

import pytest
import torch
from tests.training.killed import Killed, killed_after
from torch import nn

from sharpscope.errors import SpecError
from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.spec import Component, Regime, Run, Training
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.source.study import load_source
from sharpscope.training import NotCompiled, Recipe, compilation, predict, train

# Of PyTorch's compiler itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="compiles with g++")


def recipe(regime="baseline", **training):
    settings = {"momentum": 0.9, "batch_size": 8, "epochs": 3, "lr": 0.02, "compile": True, **training}
    return Recipe.from_spec(Training(**settings), Regime.model_validate(regime))


def network(name="mlp"):
    if name == "mlp":
        return build("mlp", (1, 8, 8), 2, Stream(0, "init"), hidden=[8])
    with Stream(0, "init").governing():
        pooled = nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), *pooled)


@pytest.fixture
def no_compiler(monkeypatch):
    from torch._inductor import config

    with config.patch({"cpp.cxx": (None, "no-such-compiler")}):
        yield


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "regime", "training"),
    [
        ("mlp", "relative_flatness+dropout+sam+ema", {"accumulate": 2}),
        ("mlp", {"dropout": {"probability": 0.2}}, {"precision": "bf16"}),
        ("mlp", "baseline", {}),
        ("convolutional", "sam+swa", {"checkpoints_at_loss": [0.65], "check_loss_every": 1}),
    ],
)
def test_it_agrees_with_the_training_of_the_model_as_it_is(dataset, name, regime, training):
    models = [network(name), network(name)]
    histories = [
        train(model, dataset, recipe(regime, **training, compile=compile), Stream(0))
        for model, compile in zip(models, (False, True), strict=True)
    ]
    tolerance = {"rtol": 1e-2, "atol": 1e-3} if training.get("precision") == "bf16" else {"rtol": 1e-4, "atol": 1e-5}
    plain, compiled = (model.state_dict() for model in models)
    assert list(plain) == list(compiled)
    assert len(histories[0].at_loss) == len(training.get("checkpoints_at_loss", []))
    for key, value in plain.items():
        torch.testing.assert_close(compiled[key], value, **tolerance)
        assert compiled[key].is_contiguous()
    for first, second in zip(histories[0].epochs, histories[1].epochs, strict=True):
        assert second.batch_loss == pytest.approx(first.batch_loss, rel=tolerance["rtol"])
    assert [kept.step for kept in histories[0].at_loss.values()] == [
        kept.step for kept in histories[1].at_loss.values()
    ]
    assert type(models[1]) is type(models[0])
    outputs = [predict(model, dataset.train_inputs, dataset.normalize) for model in models]
    torch.testing.assert_close(*outputs, rtol=1e-2, atol=1e-2)


@needs_compiler
@pytest.mark.slow
def test_models_of_one_class_are_told_apart_by_what_is_attached_to_them(dataset):
    def trained(regime):
        model = network()
        return train(model, dataset, recipe(regime, epochs=1), Stream(0)).epochs[0].batch_loss

    mild, strong = {"dropout": {"probability": 0.1}}, {"dropout": {"probability": 0.9}}
    losses = [trained(regime) for regime in ("baseline", mild, strong, "baseline", strong)]
    assert losses[0] == losses[3]
    assert losses[2] == losses[4]
    assert len(set(losses)) == 3


@needs_compiler
@pytest.mark.slow
def test_a_resumed_training_gives_the_same_weights_to_the_bit(dataset, tmp_path):
    made, whole, model = recipe("dropout+sam"), network(), network()
    train(whole, dataset, made, Stream(0))
    with pytest.raises(Killed):
        train(network(), dataset, made, Stream(0), checkpoint=tmp_path / "state", on_epoch=killed_after(2))
    # As in another process.
    torch._dynamo.reset()
    train(model, dataset, made, Stream(0), checkpoint=tmp_path / "state")
    assert all(value.equal(model.state_dict()[key]) for key, value in whole.state_dict().items())


def test_without_a_compiler_it_is_refused_before_anything_is_trained(dataset, no_compiler):
    model, before = network(), network().state_dict()
    with pytest.raises(NotCompiled, match=r"needs a C\+\+ compiler such as g\+\+, and there is none on this machine"):
        train(model, dataset, recipe(), Stream(0))
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())


def test_without_a_compiler_the_plan_refuses_it(tmp_path, no_compiler):
    path = tmp_path / "study.yaml"
    study = {"name": "s", "data": {"name": "digits", "train_size": 20}, "model": "mlp", "training": {"compile": True}}
    path.write_text(json.dumps(study))
    with pytest.raises(SpecError, match=r"training.compile needs a C\+\+ compiler"):
        make_plan(load_source(str(path)))


def test_what_pytorch_cannot_compile_is_told_in_a_sentence(dataset, no_compiler, monkeypatch):
    monkeypatch.setattr(compilation, "check_compiler", lambda: None)
    with pytest.raises(NotCompiled, match=r"PyTorch cannot compile this model \(.*No working C") as caught:
        train(network(), dataset, recipe(), Stream(0))
    assert "\n" not in str(caught.value)


class Looking(nn.Module):
    """A convolution that tells the layout of its weights."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(2, 2, 3)
        self.seen = set()

    def forward(self, x):
        self.seen.add(self.layer.weight.is_contiguous(memory_format=torch.channels_last))
        return self.layer(x.expand(-1, 2, -1, -1)).mean(dim=(2, 3))


@pytest.mark.parametrize("channels_last", [True, False])
def test_weights_have_the_channels_last_where_the_recipe_wants_it(dataset, channels_last):
    model = Looking()
    train(model, dataset, recipe(compile=False, channels_last=channels_last), Stream(0))
    assert model.seen == {channels_last}
    assert model.layer.weight.is_contiguous()


def test_both_change_the_last_bits_of_the_weights_and_so_the_identity_of_a_run():
    def identity(**training):
        data, model = Component(name="digits"), Component(name="mlp")
        return Run(data=data, model=model, training=training, regime="baseline", seed=0).id

    assert identity(compile=False, channels_last=True) == identity()
    assert len({identity(), identity(compile=True), identity(channels_last=False)}) == 3
