"""Stopping and keeping weights by the loss on clean data in eval mode."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from tests.training.killed import Killed
from torch.nn.functional import cross_entropy

from sharpscope.data.augmentations.geometric import random_shift
from sharpscope.data.subsets.selection import stratified
from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.spec import Regime, Training
from sharpscope.training import Recipe, goals, predict, train
from sharpscope.training.averaging import LastIterate, MovingAverage


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
    """The clean loss after each epoch of a training of its own length: 1, 2, ... 6."""
    found = []
    for epochs in range(1, 7):
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
        assert kept.asked == level
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

    noisy = made.training_data(dataset, Stream(0))
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


def watched(made, states, killed_at=0):
    """Return a recipe that keeps what the training would result in after each step, and breaks off after one."""

    options = getattr(made.averaging, "keywords", {})

    class Watching(MovingAverage if options else LastIterate):
        def after_step(self, progress, batch, found):
            super().after_step(progress, batch, found)
            with self.standing_in():
                states.append({name: tensor.clone() for name, tensor in self.model.state_dict().items()})
            if progress.step == killed_at:
                raise Killed

    return replace(made, averaging=partial(Watching, **options))


def loss_of(state, data):
    model = network()
    model.load_state_dict(state)
    return clean_loss(model, data)


@pytest.mark.parametrize(("regime", "every"), [("baseline", 1), ("ema", 2), ("augmentation+sam", 3), ("baseline", 5)])
def test_a_crossing_is_found_to_so_many_steps(dataset, regime, every):
    data = replace(dataset, augment=partial(random_shift, pixels=1))
    levels = [5.0, 0.6, 0.5, 0.3, 0.1, 1e-9]
    made = recipe(regime, checkpoints_at_loss=levels, check_loss_every=every, epochs=8)
    model, plain, states = network(), network(), []
    history = train(model, data, made, Stream(0))
    train(plain, data, watched(recipe(regime, epochs=8), states), Stream(0))
    assert equal(plain.state_dict(), model), "looking must not change the training"
    assert {5.0, 0.6, 0.5, 0.3} <= set(history.at_loss)
    assert 1e-9 not in history.at_loss
    losses = [loss_of(state, data) for state in states]
    for level, kept in history.at_loss.items():
        assert kept.loss == losses[kept.step - 1] <= level
        assert all(value.equal(states[kept.step - 1][name]) for name, value in kept.weights.items())
        assert kept.epoch == (kept.step + 3) // 4
        # The loss of every epoch's end was looked at.
        assert all(losses[4 * epoch - 1] > level for epoch in range(1, kept.epoch))
        assert losses[4 * kept.epoch - 1] <= level
        before = [step for step in range(1, kept.step) if step % every == 0 or step % 4 == 0][-1:]
        assert all(losses[step - 1] > level for step in before)
        assert kept.step % every == 0 or kept.step % 4 == 0
    steps = [kept.step for kept in history.at_loss.values()]
    assert steps == sorted(steps)
    assert history.at_loss[5.0].step == min(every, 4)


def test_the_training_ends_at_the_step_that_reaches_the_loss(dataset):
    states, model = [], network()
    made = recipe("ema", stop_at_loss=0.35, checkpoints_at_loss=[0.4, 0.2, 0.01], check_loss_every=1)
    history = train(model, dataset, made, Stream(0))
    train(network(), dataset, watched(recipe("ema"), states), Stream(0))
    losses = [loss_of(state, dataset) for state in states]
    step = next(step for step, loss in enumerate(losses, start=1) if loss <= 0.35)
    assert step % 4, "else an epoch would do"
    assert (history.ended, history.step, len(history.epochs)) == ("loss", step, step // 4 + 1)
    assert equal(states[step - 1], model)
    # What the rest of the epoch reached is none of this training's.
    assert list(history.at_loss) == [0.4]


def test_the_mean_of_epochs_changes_at_their_end_only(dataset):
    made = recipe({"swa": {"start": 0.1}}, checkpoints_at_loss=[0.4, 0.3], check_loss_every=1, epochs=9)
    history = train(network(), dataset, made, Stream(0))
    by_epoch = train(network(), dataset, replace(made, check_loss_every=None), Stream(0))
    assert [kept.step for kept in history.at_loss.values()] == [kept.step for kept in by_epoch.at_loss.values()]
    assert all(kept.loss == by_epoch.at_loss[level].loss for level, kept in history.at_loss.items())


@pytest.mark.parametrize(
    ("goal", "step"),
    [({"checkpoints_at_loss": [0.5, 0.3]}, 6), ({"checkpoints_at_loss": [0.5, 0.3]}, 9), ({"stop_at_loss": 0.3}, 6)],
)
def test_broken_off_within_an_epoch_it_finds_the_same_step(dataset, tmp_path, goal, step):
    made, path = recipe("ema", check_loss_every=1, **goal), tmp_path / "state"
    whole, model = network(), network()
    expected = train(whole, dataset, made, Stream(0))
    with pytest.raises(Killed):
        train(network(), dataset, watched(made, [], step), Stream(0), checkpoint=path)
    history = train(model, dataset, watched(made, []), Stream(0), checkpoint=path)
    assert equal(whole.state_dict(), model)
    assert (history.ended, history.step) == (expected.ended, expected.step)
    assert list(history.at_loss) == list(expected.at_loss)
    for level, kept in expected.at_loss.items():
        found = history.at_loss[level]
        assert (kept.step, kept.loss) == (found.step, found.loss)
        assert all(value.equal(found.weights[name]) for name, value in kept.weights.items())


def test_a_training_that_ended_within_an_epoch_is_not_repeated(dataset, tmp_path):
    made, models = recipe("ema", check_loss_every=1, stop_at_loss=0.3), [network(), network()]
    first, second = (train(model, dataset, made, Stream(0), checkpoint=tmp_path / "state") for model in models)
    assert equal(models[0].state_dict(), models[1])
    assert (first.ended, first.step) == (second.ended, second.step)
    assert first.step % 4


def test_few_samples_show_that_a_loss_is_far_off(dataset, monkeypatch):
    monkeypatch.setattr(goals, "_CHUNK", 5)
    seen = []

    def counting(model, inputs, *args, **options):
        seen.append(len(inputs))
        return predict(model, inputs, *args, **options)

    monkeypatch.setattr(goals, "predict", counting)
    train(network(), dataset, recipe(epochs=1, checkpoints_at_loss=[0.05]), Stream(0))
    assert seen == [5]
    seen.clear()
    history = train(network(), dataset, recipe(epochs=12, checkpoints_at_loss=[0.6]), Stream(0))
    assert sum(seen) <= 30 * history.at_loss[0.6].epoch, "once all losses are reached nobody looks"
