"""A training that is broken off and resumed, against one that runs through."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from tests.training.killed import Killed, killed_after
from torch import nn

from sharpscope.data.augmentations.geometric import random_shift
from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.spec import Regime, Training
from sharpscope.training import CheckpointError, Recipe, train
from sharpscope.training.checkpoint import read_tree, write_tree

EPOCHS = 4


def recipe(regime="baseline", **training):
    settings = {"momentum": 0.9, "batch_size": 8, "epochs": EPOCHS, **training}
    return Recipe.from_spec(Training(**settings), Regime.model_validate(regime))


def network(name="mlp"):
    model = build(name, (1, 8, 8), 2, Stream(0, "init"))
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.2), model) if name == "mlp" else model


def resumed(data, made, path, name, epoch=2, **options):
    with pytest.raises(Killed):
        train(network(name), data, made, Stream(0), checkpoint=path, on_epoch=killed_after(epoch), **options)
    torch.manual_seed(123)
    model = network(name)
    return model, train(model, data, made, Stream(0), checkpoint=path, **options)


@pytest.fixture
def shifting(dataset):
    return replace(dataset, augment=partial(random_shift, pixels=1))


@pytest.mark.parametrize(
    ("regime", "training", "name"),
    [
        ("augmentation+sam+weight_decay", {"schedule": "cosine", "warmup_steps": 5}, "resnet8"),
        ("fsam+swa", {"optimizer": "adamw", "momentum": None}, "mlp"),
        ({"looksam": {"every": 3}, "ema": {}}, {}, "mlp"),
        ("esam+mixup", {"precision": "bf16"}, "mlp"),
        ("msam+mixup+trivial_augment", {"clip_norm": 0.5, "accumulate": 2}, "mlp"),
        ("early_stopping+label_noise+cutout", {"checkpoints_at_loss": [0.6, 0.3]}, "mlp"),
        ("stochastic_depth+sam+swa", {"accumulate": 2}, "resnet8"),
        ("baseline", {"precision": "fp16"}, "mlp"),
    ],
)
def test_a_resumed_training_gives_the_same_weights_to_the_bit(shifting, tmp_path, regime, training, name):
    made, whole = recipe(regime, **training), network(name)
    expected = train(whole, shifting, made, Stream(0))
    model, history = resumed(shifting, made, tmp_path / "state", name)
    for key, value in whole.state_dict().items():
        assert value.equal(model.state_dict()[key]), key
    timeless = [
        [(epoch.epoch, epoch.batch_loss, epoch.batch_accuracy, epoch.lr) for epoch in one.epochs]
        for one in (expected, history)
    ]
    assert timeless[0] == timeless[1]
    assert (history.ended, history.best_epoch) == (expected.ended, expected.best_epoch)
    assert list(history.at_loss) == list(expected.at_loss)
    for level, kept in expected.at_loss.items():
        assert all(value.equal(history.at_loss[level].weights[key]) for key, value in kept.weights.items())


class Counting(nn.Module):
    """Trains by what it has counted, in every way that its weights do not hold."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 2)
        self.register_buffer("mean", torch.zeros(64), persistent=False)
        self.calls, self.plain, self.rate, self.made = 0, torch.zeros(()), 1.0, None

    def forward(self, x):
        x = x.flatten(1)
        if self.training:
            self.calls += 1
            self.rate *= 0.9
            self.mean.lerp_(x.mean(0), 0.1)
            self.plain = self.plain + x.mean()
            self.made = torch.ones(2) if self.made is None else self.made * 1.01
            x = x * (1 + self.rate) + self.mean + self.plain / self.calls
            return self.head(x) * self.made
        return self.head(x)


@pytest.mark.parametrize("regime", ["baseline", "sam"])
def test_what_a_model_keeps_beside_its_weights_goes_on_too(dataset, tmp_path, regime):
    def trained(**options):
        torch.manual_seed(0)
        model = Counting()
        train(model, dataset, recipe(regime), Stream(0), **options)
        return model

    whole, path = trained(), tmp_path / "state"
    with pytest.raises(Killed):
        trained(checkpoint=path, on_epoch=killed_after(2))
    model = trained(checkpoint=path)
    assert model.head.weight.equal(whole.head.weight)
    assert (model.calls, model.rate) == (whole.calls, whole.rate)
    for name in ("mean", "plain", "made"):
        assert getattr(model, name).equal(getattr(whole, name)), name


def test_epochs_since_the_last_writing_are_done_again(dataset, tmp_path):
    whole = network()
    train(whole, dataset, recipe(), Stream(0))
    model, history = resumed(dataset, recipe(), tmp_path / "state", "mlp", epoch=3, checkpoint_every=2)
    assert [epoch.epoch for epoch in history.epochs] == [1, 2, 3, 4]
    assert all(value.equal(model.state_dict()[key]) for key, value in whole.state_dict().items())


def test_a_finished_training_is_not_repeated(dataset, tmp_path):
    path, seen = tmp_path / "state", []
    first, second = network(), network()
    train(first, dataset, recipe(), Stream(0), checkpoint=path)
    train(second, dataset, recipe(), Stream(0), checkpoint=path, on_epoch=seen.append)
    assert seen == []
    assert all(value.equal(second.state_dict()[key]) for key, value in first.state_dict().items())


@pytest.mark.parametrize(
    ("made", "stream", "differing"),
    [
        (recipe("sam", lr=0.3), Stream(0), "lr"),
        (recipe("sam"), Stream(1), "stream"),
        (recipe("fsam"), Stream(0), "update"),
        (recipe({"sam": {"rho": 0.1}}), Stream(0), "update"),
        (recipe("sam+swa", schedule="cosine", epochs=5), Stream(0), "averaging, epochs, schedule, steps"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(dataset, tmp_path, made, stream, differing):
    path = tmp_path / "state"
    train(network(), dataset, recipe("sam"), Stream(0), checkpoint=path)
    with pytest.raises(CheckpointError, match=f"another training: it differs in {differing};"):
        train(network(), dataset, made, stream, checkpoint=path)


def test_a_checkpoint_of_other_data_or_another_initialization_is_refused(dataset, tmp_path):
    path = tmp_path / "training.safetensors"
    train(network(), dataset, recipe(), Stream(0), checkpoint=path)
    flipped = replace(dataset, train_targets=dataset.train_targets.flip(0))
    with pytest.raises(CheckpointError, match="it differs in data;"):
        train(network(), flipped, recipe(), Stream(0), checkpoint=path)
    other = network()
    with torch.no_grad():
        next(other.parameters())[0] += 1
    with pytest.raises(CheckpointError, match="it differs in initialization;"):
        train(other, dataset, recipe(), Stream(0), checkpoint=path)


@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: b"\x00" * 40, lambda data: b""])
def test_a_damaged_checkpoint_is_refused(dataset, tmp_path, damage):
    path = tmp_path / "state"
    train(network(), dataset, recipe(), Stream(0), checkpoint=path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        train(network(), dataset, recipe(), Stream(0), checkpoint=path)


def test_a_tree_comes_back_as_it_was(tmp_path):
    shared = torch.arange(3)
    tree = {"a": [1, 0.1, None, True, "text"], "b": {"c": shared, "d": [shared, torch.tensor(2.5).double()]}}
    write_tree(tmp_path / "deep" / "tree", tree)
    found = read_tree(tmp_path / "deep" / "tree")
    assert found["a"] == tree["a"]
    assert found["b"]["c"].equal(shared)
    assert found["b"]["d"][0].equal(shared)
    assert found["b"]["d"][1].dtype == torch.float64
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["tree"]
    assert json.dumps(found["a"]) == json.dumps(tree["a"])
