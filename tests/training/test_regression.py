"""Training on numbers: against plain PyTorch, with the goals that look at the loss."""

import pytest
import torch
from tests.training.killed import Killed, killed_after
from torch.nn.functional import mse_loss

from sharpscope.data import Dataset
from sharpscope.errors import DataError
from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.spec import Regime, Training
from sharpscope.task import REGRESSION
from sharpscope.training import REGIMES, Recipe, predict, train
from sharpscope.training.minibatches import lost_classes

CLASSES_ALONE = ["cutmix", "label_noise", "label_smoothing", "mixup", "relative_flatness"]


def recipe(regime="baseline", **training):
    settings = {"momentum": 0.9, "batch_size": 8, "epochs": 4, "lr": 0.05, **training}
    return Recipe.from_spec(Training(**settings), Regime.model_validate(regime))


def network(outputs):
    return build("mlp", (4,), outputs, Stream(0, "init"), hidden=(8,))


@pytest.fixture(params=[(), (3,)], ids=["one number", "three numbers"])
def points(request):
    draws = Stream("points").torch()
    inputs = torch.randn(30, 4, generator=draws)
    shape = (30, *request.param)
    targets = inputs.sum(dim=1).view(-1, *(1,) * len(request.param)) + 0.1 * torch.randn(shape, generator=draws)
    held = {"test_inputs": inputs, "test_targets": targets}
    statistics = {"classes": (), "mean": (0.0,) * 4, "std": (1.0,) * 4}
    return Dataset(name="points", train_inputs=inputs, train_targets=targets, **held, **statistics, task=REGRESSION)


def clean_loss(model, data):
    outputs = predict(model, data.train_inputs, data.normalize).double()
    return mse_loss(outputs, data.train_targets.double().view_as(outputs)).item()


def test_it_equals_a_loop_written_out_in_plain_pytorch(points):
    model, reference = network(points.outputs), network(points.outputs)
    history = train(model, points, recipe(), Stream(0))
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.05, momentum=0.9)
    order, losses = Stream(0, "order").torch(), []
    for _ in range(4):
        losses = []
        for chosen in torch.randperm(30, generator=order).split(8):
            outputs = reference(points.train_inputs[chosen])
            loss = mse_loss(outputs, points.train_targets[chosen].view_as(outputs))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += [loss.item()] * len(chosen)
    for value, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    assert history.epochs[-1].batch_loss == pytest.approx(sum(losses) / 30, rel=1e-5)
    assert history.epochs[-1].batch_accuracy is None
    assert list(history.to_columns()) == ["epoch", "batch_loss", "lr", "seconds"]


@pytest.mark.parametrize("regime", ["baseline", "sam", "esam", "weight_decay+ema"])
def test_weights_are_kept_where_the_squared_error_was_small_enough(points, regime):
    levels = [3.0, 1.0, 1e-9]
    made = recipe(regime, checkpoints_at_loss=levels, check_loss_every=1, epochs=20, lr=0.01)
    history = train(network(points.outputs), points, made, Stream(0))
    assert list(history.at_loss) == [3.0, 1.0]
    for level, kept in history.at_loss.items():
        model = network(points.outputs)
        model.load_state_dict(kept.weights)
        assert clean_loss(model, points) == pytest.approx(kept.loss, rel=1e-12)
        assert kept.loss <= level


def test_early_stopping_holds_out_a_random_share(points):
    made = recipe("early_stopping", epochs=30)
    history = train(network(points.outputs), points, made, Stream(0))
    assert history.best_epoch is not None
    assert lost_classes(points, made, Stream(0)) == []


def test_a_resumed_training_gives_the_same_weights(points, tmp_path):
    made, path = recipe("sam"), tmp_path / "state"
    whole, model = network(points.outputs), network(points.outputs)
    expected = train(whole, points, made, Stream(0))
    with pytest.raises(Killed):
        train(network(points.outputs), points, made, Stream(0), checkpoint=path, on_epoch=killed_after(2))
    history = train(model, points, made, Stream(0), checkpoint=path)
    assert all(a.equal(b) for a, b in zip(whole.parameters(), model.parameters(), strict=True))
    assert [epoch.batch_loss for epoch in history.epochs] == [epoch.batch_loss for epoch in expected.epochs]


@pytest.mark.parametrize("name", sorted(REGIMES))
def test_regimes_that_need_classes_are_refused_and_all_others_train(points, name):
    made = recipe(name, epochs=1)
    if name in CLASSES_ALONE:
        message = f"'{name}' is defined for classification, and dataset 'points' is one of regression; take it out"
        with pytest.raises(DataError, match=message):
            train(network(points.outputs), points, made, Stream(0))
        return
    if made.augment or made.image_changes or name == "stochastic_depth":
        return  # these need images, or a network of branches
    history = train(network(points.outputs), points, made, Stream(0))
    assert len(history.epochs) == 1
