"""Observers of a training: what they are told, that they change nothing, and that they go on."""

import random

import numpy as np
import pytest
import torch
from tests.training.killed import Killed, killed_after
from torch import nn

from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.spec import Regime, Training
from sharpscope.training import CheckpointError, Observer, Recipe, train


def recipe(regime="baseline", **training):
    settings = {"momentum": 0.9, "batch_size": 8, "epochs": 3, **training}
    return Recipe.from_spec(Training(**settings), Regime.model_validate(regime))


def network():
    return nn.Sequential(nn.Dropout(0.2), build("resnet8", (1, 8, 8), 2, Stream(0, "init")))


class Trajectory(Observer):
    """Keeps the loss before every step and the squared norm of the weights after it."""

    def __init__(self, model):
        self.model = model
        self.rows, self.calls = [], []

    def after_step(self, progress, batch, found):
        norm = sum(parameter.detach().square().sum().item() for parameter in self.model.parameters())
        self.rows.append([progress.step, progress.epoch, len(batch.targets), found.loss.item(), norm])

    def after_epoch(self, progress):
        self.calls.append(progress.epoch)

    def settle(self, history):
        self.calls.append(history.ended)

    def state_dict(self):
        return {"rows": self.rows}

    def load_state_dict(self, state):
        self.rows = [list(row) for row in state["rows"]]


class Meddler(Observer):
    """Does to a model what an observer should not."""

    def __init__(self, model):
        self.model = model
        self.modes = set()

    def after_step(self, progress, batch, found):
        self.modes.add(self.model.training)
        self.model.train()
        self.model(batch.inputs).sum().backward()
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(torch.randn_like(parameter))
        random.random(), np.random.rand()  # noqa: NPY002

    def after_epoch(self, progress):
        self.model.eval()
        self.model[1].stem[1].running_mean.zero_()

    def settle(self, history):
        for parameter in self.model.parameters():
            parameter.data.zero_()


def test_it_is_told_of_every_step_and_epoch_and_of_the_end(dataset):
    model = network()
    seen = Trajectory(model)
    history = train(model, dataset, recipe(), Stream(0), observers=[seen])
    steps, epochs, sizes, losses, _ = map(list, zip(*seen.rows, strict=True))
    assert steps == list(range(1, 13))
    assert epochs == [0] * 4 + [1] * 4 + [2] * 4
    assert sizes == [8, 8, 8, 6] * 3
    assert seen.calls == [1, 2, 3, "epochs"]
    for epoch in history.epochs:
        of_epoch = slice(4 * (epoch.epoch - 1), 4 * epoch.epoch)
        mean = np.average(losses[of_epoch], weights=sizes[of_epoch])
        assert epoch.batch_loss == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("regime", ["baseline", "sam+ema", "msam"])
def test_whatever_it_does_the_training_is_the_same_to_the_bit(dataset, regime):
    plain, observed = network(), network()
    made = recipe(regime, checkpoints_at_loss=[0.6], check_loss_every=1)
    expected = train(plain, dataset, made, Stream(0))
    meddler = Meddler(observed)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    found = train(observed, dataset, made, Stream(0), observers=[meddler])
    assert meddler.modes == {False}, "it sees the model in eval mode"
    for name, value in plain.state_dict().items():
        assert value.equal(observed.state_dict()[name]), name
    assert observed.training
    assert [kept.step for kept in found.at_loss.values()] == [kept.step for kept in expected.at_loss.values()]
    assert torch.get_rng_state().equal(before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]  # noqa: NPY002


def test_a_resumed_training_gives_it_back_what_it_saw(dataset, tmp_path):
    models = [network() for _ in range(3)]
    whole, first, second = (Trajectory(model) for model in models)
    train(models[0], dataset, recipe(), Stream(0), observers=[whole])
    path = tmp_path / "state"
    with pytest.raises(Killed):
        train(models[1], dataset, recipe(), Stream(0), observers=[first], checkpoint=path, on_epoch=killed_after(2))
    train(models[2], dataset, recipe(), Stream(0), observers=[second], checkpoint=path)
    assert len(first.rows) == 8
    assert second.rows == whole.rows


def test_a_checkpoint_with_other_observers_is_refused(dataset, tmp_path):
    path, model = tmp_path / "state", network()
    train(network(), dataset, recipe(), Stream(0), checkpoint=path)
    with pytest.raises(CheckpointError, match="differs in observers"):
        train(model, dataset, recipe(), Stream(0), observers=[Trajectory(model)], checkpoint=path)
