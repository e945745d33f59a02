import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from sharpscope.data.augmentations.geometric import random_shift
from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.spec import Regime, Training
from sharpscope.training import Diverged, Recipe, train
from sharpscope.training.recorder import READ_EVERY

EPOCHS = 2


def recipe(regime="baseline", **training):
    settings = {"momentum": 0.9, "batch_size": 8, "epochs": EPOCHS, **training}
    return Recipe.from_spec(Training(**settings), Regime.model_validate(regime))


def network(name="resnet8", **options):
    return build(name, (1, 8, 8), 2, Stream(0, "init"), **options)


def same(first, second):
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


class Recorder(nn.Module):
    """A linear model that keeps the batches it sees."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 2)
        nn.init.zeros_(self.linear.weight)
        self.batches = []

    def forward(self, x):
        self.batches.append(x.detach().clone())
        return self.linear(x.flatten(1))


def batches_seen(dataset, regime, **training):
    recorder = Recorder()
    train(recorder, dataset, recipe(regime, **training), Stream(0))
    return recorder.batches


@pytest.fixture
def shifting(dataset):
    return replace(dataset, augment=partial(random_shift, pixels=1))


def test_equals_a_loop_written_out_in_plain_pytorch(dataset):
    model, reference = network(), network()
    history = train(model, dataset, recipe(schedule="cosine", lr=0.1), Stream(3))

    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    order = Stream(3, "order").torch()
    step, losses, right = 0, [], 0
    for _ in range(EPOCHS):
        losses, right = [], 0
        for chosen in torch.randperm(30, generator=order).split(8):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * 0.5 * (1 + math.cos(math.pi * step / 8))
            outputs = reference((dataset.train_inputs[chosen] / 255 - 0.5) / 0.25)
            loss = nn.functional.cross_entropy(outputs, dataset.train_targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            losses += [loss.item()] * len(chosen)
            right += (outputs.argmax(1) == dataset.train_targets[chosen]).sum().item()

    for (name, value), expected in zip(model.state_dict().items(), reference.state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-5, msg=name)
    last = history.epochs[-1]
    assert last.batch_loss == pytest.approx(sum(losses) / 30, rel=1e-4)
    assert last.batch_accuracy == right / 30
    assert last.lr == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 7 / 8)))


@pytest.mark.parametrize("regime", ["baseline", "augmentation+sam+weight_decay"])
def test_the_same_stream_gives_the_same_weights_to_the_bit(shifting, regime):
    models = [network(), network(), network()]
    for noise, (model, stream) in enumerate(zip(models, [Stream(0), Stream(0), Stream(1)], strict=True)):
        torch.manual_seed(noise)
        train(model, shifting, recipe(regime), stream)
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_the_global_random_state_is_neither_used_nor_changed(shifting):
    def dropping():
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), network("mlp"))

    models = [dropping(), dropping()]
    for noise, model in enumerate(models):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        train(model, shifting, recipe("augmentation"), Stream(0))
        assert torch.equal(torch.get_rng_state(), before)
    assert same(*models)


def test_all_regimes_of_a_seed_see_the_data_in_one_order(shifting):
    plain = batches_seen(shifting, "baseline")
    assert [len(batch) for batch in plain] == [8, 8, 8, 6] * EPOCHS
    decayed = batches_seen(shifting, "weight_decay", lr=0.01)
    assert all(torch.equal(a, b) for a, b in zip(plain, decayed, strict=True))
    # SAM sees every batch twice.
    twice = batches_seen(shifting, "sam")
    assert all(torch.equal(a, b) for a, b in zip(plain, twice[::2], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain, twice[1::2], strict=True))


def test_every_sample_is_seen_once_an_epoch_in_a_new_order(dataset):
    seen = batches_seen(dataset, "baseline")
    first, second = torch.cat(seen[:4]), torch.cat(seen[4:])
    everything = dataset.normalize(dataset.train_inputs)
    for epoch in (first, second):
        assert torch.equal(epoch.flatten(1).sum(1).sort().values, everything.flatten(1).sum(1).sort().values)
    assert not torch.equal(first, second)


def test_augmentation_moves_the_batches_and_leaves_the_data(shifting):
    before = shifting.train_inputs.clone()
    plain, moved = batches_seen(shifting, "baseline"), batches_seen(shifting, "augmentation")
    again = batches_seen(shifting, "augmentation+weight_decay")
    assert all(torch.equal(a, b) for a, b in zip(moved, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(plain, moved, strict=True))
    assert torch.equal(shifting.train_inputs, before)


def test_learns(dataset):
    history = train(network(), dataset, recipe(epochs=15), Stream(0))
    assert history.epochs[-1].batch_accuracy > 0.9
    assert history.epochs[-1].batch_loss < history.epochs[0].batch_loss


def test_the_model_is_left_in_its_mode_with_contiguous_weights_and_no_gradients(dataset):
    model = network()
    model.stem.eval()
    train(model, dataset, recipe("sam"), Stream(0))
    assert model.training
    assert not model.stem[1].training
    assert all(tensor.is_contiguous() for tensor in model.state_dict().values())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_history_is_a_plain_table(dataset):
    reported = []
    history = train(network("mlp"), dataset, recipe(schedule="linear"), Stream(0), on_epoch=reported.append)
    assert reported == history.epochs
    columns = history.to_columns()
    assert list(columns) == ["epoch", "batch_loss", "batch_accuracy", "lr", "seconds"]
    assert columns["epoch"] == [1, 2]
    assert columns["lr"] == pytest.approx([0.05 * (1 - 3 / 8), 0.05 * (1 - 7 / 8)])
    assert {type(value) for values in columns.values() for value in values} == {int, float}


def test_a_loss_that_is_not_a_number_ends_the_training(dataset):
    with pytest.raises(Diverged, match="the loss became NaN at epoch 2, step 6 of 8") as caught:
        train(Failing(at=6), dataset, recipe(), Stream(0))
    assert (caught.value.epoch, caught.value.step) == (2, 6)
    assert len(caught.value.history.epochs) == 1


def test_a_loss_that_is_infinite_ends_the_training(dataset):
    infinite = replace(recipe(), loss=lambda outputs, targets: outputs.sum() + math.inf)
    with pytest.raises(Diverged, match="the loss became infinite at epoch 1, step 1 of 8"):
        train(network("mlp"), dataset, infinite, Stream(0))


def test_too_large_a_learning_rate_diverges(dataset):
    with pytest.raises(Diverged, match="try a smaller learning rate"):
        train(network("mlp"), dataset, recipe(lr=1e20), Stream(0))


def test_weights_broken_by_the_last_step_are_noticed(dataset):
    with pytest.raises(Diverged, match="'weight' is not finite at epoch 2, step 8 of 8"):
        train(Failing(at=8, in_gradient=True), dataset, recipe(), Stream(0))


def test_a_diverged_training_does_not_go_on_for_long(dataset):
    model = Failing(at=1)
    many = replace(
        dataset,
        train_inputs=dataset.train_inputs.repeat(20, 1, 1, 1),
        train_targets=dataset.train_targets.repeat(20),
    )
    with pytest.raises(Diverged, match="epoch 1, step 1 of"):
        train(model, many, recipe(batch_size=1, epochs=1), Stream(0))
    assert model.calls == READ_EVERY


class Failing(nn.Module):
    """A model whose outputs, or whose gradients alone, are NaN from one call on."""

    def __init__(self, at, in_gradient=False):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.at, self.in_gradient = at, in_gradient
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        outputs = self.weight.repeat(len(x), 1)
        if self.calls < self.at:
            return outputs
        if self.in_gradient:
            outputs.register_hook(lambda gradient: gradient * math.nan)
            return outputs
        return outputs * math.nan
