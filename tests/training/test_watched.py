"""Weights along a training, against trainings that end there."""

from dataclasses import replace

import pytest
import torch
from tests.training.killed import Killed, killed_after

from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.spec import Regime, Training
from sharpscope.training import Recipe, train

STEPS = (0, 1, 4, 7, 12, 1000)  # 4 steps an epoch


def recipe(regime="baseline", watched=STEPS, **training):
    settings = {"momentum": 0.9, "batch_size": 8, "epochs": 3, "lr": 0.02, **training}
    return replace(Recipe.from_spec(Training(**settings), Regime.model_validate(regime)), watched=watched)


def network():
    return build("resnet8", (1, 8, 8), 2, Stream(0, "init"))


def same(first, second):
    return first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)


@pytest.mark.parametrize("regime", ["baseline", "sam", "ema"])
def test_weights_after_a_step_are_those_of_a_training_that_ends_there(dataset, regime):
    model, unwatched = network(), network()
    history = train(model, dataset, recipe(regime), Stream(0))
    train(unwatched, dataset, recipe(regime, watched=()), Stream(0))
    assert same(unwatched.state_dict(), model.state_dict()), "watching must not change the training"
    assert list(history.at_step) == [0, 1, 4, 7, 12]
    assert same(history.at_step[0], network().state_dict())
    assert same(history.at_step[12], model.state_dict())
    shorter = network()
    train(shorter, dataset, recipe(regime, epochs=1), Stream(0))
    assert same(history.at_step[4], shorter.state_dict())
    assert not same(history.at_step[1], history.at_step[4])


def test_what_is_kept_survives_that_a_training_is_broken_off(dataset, tmp_path):
    through = train(network(), dataset, recipe(), Stream(0))
    with pytest.raises(Killed):
        train(network(), dataset, recipe(), Stream(0), checkpoint=tmp_path / "state", on_epoch=killed_after(2))
    torch.manual_seed(5)
    resumed = train(network(), dataset, recipe(), Stream(0), checkpoint=tmp_path / "state")
    assert list(resumed.at_step) == list(through.at_step)
    assert all(same(weights, through.at_step[step]) for step, weights in resumed.at_step.items())


def test_steps_that_the_result_is_without_are_left_out(dataset):
    whole = train(network(), dataset, recipe(watched=tuple(range(13))), Stream(0))
    losses = [epoch.batch_loss for epoch in whole.epochs]
    stopped = train(
        network(),
        dataset,
        recipe(watched=tuple(range(13)), stop_at_loss=losses[0], check_loss_every=1),
        Stream(0),
    )
    assert stopped.ended == "loss"
    assert list(stopped.at_step) == list(range(stopped.step + 1))
