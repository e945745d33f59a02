"""Stopping and keeping weights by the loss on clean data in eval mode."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy

from sharpscope.data.augmentations import random_shift
from sharpscope.data.selection import stratified
from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.spec import Regime, Training
from sharpscope.training import Recipe, predict, train


def recipe(regime="baseline", **training):
    settings = {"momentum": 0.9, "batch_size": 8, "epochs": 12, "lr": 0.02, **training}
    return Recipe.from_spec(Training(**settings), Regime.model_validate(regime))


def network(name="resnet8"):
    return build(name, (1, 8, 8), 2, Stream(0, "init"))


def clean_loss(model, data):
    outputs = predict(model, data.train_inputs, data.normalize)
    return cross_entropy(outputs.double(), data.train_targets).item()


def equal(state, model):
    return all(value.equal(state[name]) for name, value in model.state_dict().items())


@pytest.fixture
def losses(dataset):
    """The clean loss after each epoch of a training of its own length: 1, 2, ... 12."""
    found = []
    for epochs in range(1, 13):
        model = network()
        train(model, dataset, recipe(epochs=epochs), Stream(0))
        found.append(clean_loss(model, dataset))
    return found


def test_the_training_ends_at_the_first_epoch_below_the_loss(dataset, losses):
    target = (losses[3] + losses[4]) / 2 if losses[4] < losses[3] else losses[4]
    first = next(epoch for epoch, loss in enumerate(losses, start=1) if loss <= target)
    model, reference = network(), network()
    history = train(model, dataset, recipe(stop_at_loss=target), Stream(0))
    train(reference, dataset, recipe(epochs=first), Stream(0))
    assert (len(history.epochs), history.ended) == (first, "loss")
    assert clean_loss(model, dataset) == losses[first - 1]
    assert equal(reference.state_dict(), model)


def test_a_loss_that_is_never_reached_ends_with_the_epochs(dataset):
    history = train(network(), dataset, recipe(epochs=2, stop_at_loss=1e-9), Stream(0))
    assert (len(history.epochs), history.ended, history.at_loss) == (2, "epochs", {})


@pytest.mark.parametrize("regime", ["baseline", "ema", "augmentation+sam", "label_smoothing"])
def test_weights_are_kept_at_the_first_crossing_of_each_level(dataset, regime):
    data = replace(dataset, augment=partial(random_shift, pixels=1))
    levels = [0.1, 0.6, 0.3, 1e-9, 5.0]
    model, plain = network(), network()
    history = train(model, data, recipe(regime, checkpoints_at_loss=levels), Stream(0))
    train(plain, data, recipe(regime), Stream(0))
    assert equal(plain.state_dict(), model), "looking must not change the training"
    assert list(history.at_loss) == sorted(history.at_loss, reverse=True)
    assert {5.0, 0.6, 0.3} <= set(history.at_loss)
    assert 1e-9 not in history.at_loss
    for level, kept in history.at_loss.items():
        assert kept.level == level
        assert kept.step == 4 * kept.epoch
        restored = network()
        restored.load_state_dict(kept.weights)
        assert clean_loss(restored, data) == kept.loss <= level
    epochs = [kept.epoch for kept in history.at_loss.values()]
    assert epochs == sorted(epochs)


def test_kept_weights_are_those_of_a_training_that_ends_there(dataset):
    history = train(network(), dataset, recipe("ema", checkpoints_at_loss=[0.3]), Stream(0))
    kept = history.at_loss[0.3]
    shorter = network()
    train(shorter, dataset, recipe("ema", epochs=kept.epoch), Stream(0))
    assert equal(kept.weights, shorter)


def test_early_stopping_keeps_the_best_epoch_on_data_that_it_held_out(dataset):
    made = recipe({"early_stopping": {"share": 0.2, "patience": 2}, "label_noise": {"probability": 0.5}}, epochs=40)
    model = network()
    history = train(model, dataset, made, Stream(0))
    assert history.ended == "patience"
    assert len(history.epochs) == history.best_epoch + 2

    noisy = made.training_data(dataset)
    chosen = stratified(noisy.train_targets, 6, Stream(0, "held-out"))
    held_out = replace(noisy, train_inputs=noisy.train_inputs[chosen], train_targets=noisy.train_targets[chosen])
    best = clean_loss(model, held_out)
    left = torch.ones(30, dtype=torch.bool).index_fill(0, chosen, False)
    rest = replace(noisy, train_inputs=noisy.train_inputs[left], train_targets=noisy.train_targets[left])
    losses = []
    for epochs in range(1, len(history.epochs) + 1):
        reference = network()
        train(reference, rest, recipe(epochs=epochs), Stream(0))
        losses.append(clean_loss(reference, held_out))
    assert best == min(losses) == losses[history.best_epoch - 1]


def test_a_loss_to_stop_at_goes_before_early_stopping(dataset):
    made = recipe("early_stopping", stop_at_loss=0.4)
    model = network()
    history = train(model, dataset, made, Stream(0))
    assert (history.ended, history.best_epoch) == ("loss", None)
    chosen = stratified(dataset.train_targets, 3, Stream(0, "held-out"))
    left = torch.ones(30, dtype=torch.bool).index_fill(0, chosen, False)
    rest = replace(dataset, train_inputs=dataset.train_inputs[left], train_targets=dataset.train_targets[left])
    assert clean_loss(model, rest) <= 0.4
