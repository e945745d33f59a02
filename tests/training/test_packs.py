"""Networks trained together: each as it would be alone, whoever its company is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.killed import Killed
from torch import Tensor, nn

from sharpscope import spec
from sharpscope.data import Dataset
from sharpscope.models import build
from sharpscope.objective import Classification
from sharpscope.seeding import Stream
from sharpscope.task import CLASSIFICATION, REGRESSION
from sharpscope.training import CheckpointError, Diverged, History, Recipe, train
from sharpscope.training.optimizers import norm_or_bias
from sharpscope.training.packs import Member, minibatches, network, pack_key, train_pack
from sharpscope.training.packs.weights import Weights
from sharpscope.training.schedules import cosine
from sharpscope.training.updates.sam import Sam

SAMPLES = 23  # an epoch ends with a batch of its own size


class Exact(Dataset):
    """Data in double precision."""

    def normalize(self, inputs: Tensor) -> Tensor:
        return inputs.double()


def data(
    number: int = 0, *, samples: int = SAMPLES, outputs: int = 3, regression: bool = False, kind: type[Dataset] = Exact
) -> Dataset:
    """Return data of a few features, of one size whatever the number."""
    draws = Stream("data", number).torch()
    inputs = torch.randn(samples, 4, generator=draws)
    if regression:
        targets = torch.randn(samples, outputs, generator=draws)
        rest: dict[str, Any] = {"task": REGRESSION, "classes": ()}
    else:
        targets = torch.arange(samples) % outputs
        rest = {"task": CLASSIFICATION, "classes": tuple("abcdefgh"[:outputs])}
    return kind("made", inputs, targets, inputs[:5], targets[:5], mean=(0.0,) * 4, std=(1.0,) * 4, **rest)


def member(number: int, recipe: Recipe, dataset: Dataset | None = None, *, double: bool = True, **shape: Any) -> Member:
    if dataset is None:
        dataset = data(number % 2, kind=Exact if double else Dataset)
    options = {"hidden": (6, 5), **shape}
    model = build("mlp", dataset.input_shape, dataset.outputs, Stream(number, "init"), **options)
    return Member(str(number), model.double() if double else model, dataset, recipe, Stream(number, "training"))


def ends(members: Sequence[Member], **options: Any) -> dict[str, History | Diverged]:
    """Train a pack; return how each member ended."""
    return {found.name: ended for found, ended in train_pack(members, **options)}


def vector(model: nn.Module) -> Tensor:
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach()


def check_like_alone(make: Callable[[], list[Member]], tolerance: float = 1e-10) -> None:
    """See that members come out of a pack as they do alone."""
    packed, alone = make(), make()
    histories = ends(packed)
    for together, single in zip(packed, alone, strict=True):
        expected = train(single.model, single.data, single.recipe, single.stream)
        torch.testing.assert_close(vector(together.model), vector(single.model), rtol=tolerance, atol=tolerance)
        found = histories[together.name]
        assert isinstance(found, History)
        assert (found.ended, found.step) == (expected.ended, expected.step)
        for epoch, other in zip(found.epochs, expected.epochs, strict=True):
            assert epoch.batch_loss == pytest.approx(other.batch_loss, rel=1e-5)
            assert (epoch.epoch, epoch.batch_accuracy) == (other.epoch, other.batch_accuracy)
            assert epoch.lr == pytest.approx(other.lr)
        assert found.at_step.keys() == expected.at_step.keys()
        for step, weights in found.at_step.items():
            for name, tensor in weights.items():
                torch.testing.assert_close(tensor, expected.at_step[step][name], rtol=tolerance, atol=tolerance)
        assert found.at_loss.keys() == expected.at_loss.keys()
        for loss, kept in found.at_loss.items():
            assert (kept.step, kept.epoch) == (expected.at_loss[loss].step, expected.at_loss[loss].epoch)
            assert kept.loss == pytest.approx(expected.at_loss[loss].loss, rel=1e-6)
            weights = dict(expected.at_loss[loss].weights)
            assert kept.weights.keys() == weights.keys()
            for name, tensor in kept.weights.items():
                torch.testing.assert_close(tensor, weights[name], rtol=tolerance, atol=tolerance)


# 100 steps of 5 samples.
BASE = Recipe(lr=0.05, batch_size=5, epochs=20)
MOMENTUM = replace(BASE, optimizer_options={"momentum": 0.9})
# Of these losses the first is that of the first epoch, and the last one is not reached.
WHOLE = replace(MOMENTUM, batch_size=SAMPLES, lr=0.1, epochs=60, checkpoints_at_loss=(1.5, 1.0, 0.9, 1e-9))
RECIPES = {
    "gradient descent": BASE,
    "momentum": MOMENTUM,
    "nesterov": replace(BASE, optimizer_options={"momentum": 0.9, "nesterov": True, "weight_decay": 1e-2}),
    "dampened": replace(BASE, optimizer_options={"momentum": 0.9, "dampening": 0.5, "weight_decay": 1e-2}),
    "decay": replace(BASE, optimizer_options={"momentum": 0.9, "weight_decay": 1e-2}),
    "decoupled decay": replace(MOMENTUM, decoupled_decay=0.1),
    "decay of matrices": replace(
        BASE, optimizer_options={"weight_decay": 1e-2}, decoupled_decay=0.1, undecayed=norm_or_bias
    ),
    "clipped": replace(MOMENTUM, clip_norm=0.3),
    "cosine": replace(MOMENTUM, schedule=cosine),
    "sam": replace(MOMENTUM, update=partial(Sam, rho=0.1)),
    "sam, clipped": replace(MOMENTUM, update=partial(Sam, rho=0.1), clip_norm=0.3),
    "asam": replace(MOMENTUM, update=partial(Sam, rho=0.5, adaptive=True)),
    "adam": replace(BASE, optimizer="adam", lr=0.01),
    "adam, decay": replace(BASE, optimizer="adam", lr=0.01, optimizer_options={"weight_decay": 1e-2}),
    "adamw": replace(BASE, optimizer="adamw", lr=0.01, optimizer_options={"weight_decay": 0.1}, decoupled_decay=0.1),
    "adam, sam": replace(BASE, optimizer="adam", lr=0.01, update=partial(Sam, rho=0.1)),
    "smoothed labels": replace(BASE, loss=partial(Classification().loss, label_smoothing=0.1)),
    "matched losses": replace(MOMENTUM, checkpoints_at_loss=(0.9, 0.5, 1e-9)),
    "closely matched losses": replace(MOMENTUM, checkpoints_at_loss=(0.9, 0.5), check_loss_every=2),
    "matched losses, all samples": WHOLE,
    "matched losses, all samples, sam": replace(WHOLE, update=partial(Sam, rho=0.1)),
    "a loss to stop at, all samples": replace(WHOLE, stop_at_loss=0.8),
    "smoothed labels, all samples": replace(WHOLE, loss=partial(Classification().loss, label_smoothing=0.1)),
    "watched": replace(MOMENTUM, watched=(0, 1, 7, 40), stop_at_loss=0.9),
    "a loss to stop at": replace(MOMENTUM, stop_at_loss=0.5, check_loss_every=1),
}


@pytest.fixture(params=["small batches", "large batches"])
def batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all batches count as small, or as so large that they go through the networks one by one, and in parts."""
    monkeypatch.setattr(network, "CHUNK", 1024 if request.param == "small batches" else 3)


@pytest.mark.usefixtures("batches")
@pytest.mark.parametrize("name", RECIPES)
def test_a_member_is_as_it_would_be_alone(name: str) -> None:
    check_like_alone(lambda: [member(number, RECIPES[name]) for number in range(3)])


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid", "gelu", "silu", "identity"])
def test_activations(activation: str) -> None:
    check_like_alone(lambda: [member(number, MOMENTUM, activation=activation) for number in range(2)])


@pytest.mark.parametrize("shape", [{"hidden": ()}, {"hidden": (7,), "bias": False}, {"hidden": (2, 9, 3)}])
def test_shapes(shape: dict[str, Any]) -> None:
    check_like_alone(lambda: [member(number, MOMENTUM, **shape) for number in range(2)])


@pytest.mark.parametrize("outputs", [1, 2])
def test_regression(outputs: int) -> None:
    of = lambda number: data(number, outputs=outputs, regression=True)
    check_like_alone(lambda: [member(number, MOMENTUM, of(number)) for number in range(2)])


def test_a_batch_of_many_samples_goes_through_in_parts() -> None:
    many = data(samples=1200)
    recipe = replace(MOMENTUM, batch_size=5000, epochs=5, update=partial(Sam, rho=0.1))
    check_like_alone(lambda: [member(number, recipe, many) for number in range(2)])


def test_an_own_loss_that_is_no_mean_over_samples_sees_a_large_batch_as_a_whole() -> None:
    # Sorted by class, so that the parts of a batch would weigh their samples in ways of their own.
    many = data(samples=1500)
    many = replace(many, train_targets=many.train_targets.sort().values)
    weighed = partial(torch.nn.functional.cross_entropy, weight=torch.tensor([1.0, 5.0, 20.0], dtype=torch.float64))
    recipe = replace(MOMENTUM, batch_size=5000, epochs=5, loss=weighed)
    check_like_alone(lambda: [member(number, recipe, many) for number in range(2)])


@pytest.mark.parametrize("every", [None, 1])
def test_data_that_are_looked_at_in_parts_tell_the_same_losses(
    every: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minibatches, "_BLOCK", 60)
    recipe = replace(MOMENTUM, epochs=20, checkpoints_at_loss=(1.0, 0.8), check_loss_every=every)
    check_like_alone(lambda: [member(number, recipe) for number in range(3)])


def test_with_all_samples_in_a_batch_a_step_tells_the_loss_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    outputs = network.Network.outputs

    def counted(self: network.Network, weights: Weights, inputs: Tensor) -> Tensor:
        looks.append(len(weights))
        return outputs(self, weights, inputs)

    monkeypatch.setattr(network.Network, "outputs", counted)
    ends([member(number, WHOLE) for number in range(3)])
    assert looks == [3], "after the last step"


def test_a_loss_that_the_last_step_of_all_reaches_is_found() -> None:
    alone = member(0, replace(WHOLE, checkpoints_at_loss=()))
    train(alone.model, alone.data, alone.recipe, alone.stream)
    with torch.no_grad():
        last = float(Classification().loss(alone.model(alone.data.train_inputs.double()), alone.data.train_targets))
    recipe = replace(WHOLE, checkpoints_at_loss=(last * (1 + 1e-9),))
    check_like_alone(lambda: [member(number, recipe) for number in range(2)])
    found = ends([member(0, recipe)])["0"]
    assert isinstance(found, History)
    assert [kept.epoch for kept in found.at_loss.values()] == [60]


def _recipe(**options: Any) -> Recipe:
    noise = {"probability": options.pop("noise"), "per_seed": True}
    regime = {"sam": {"rho": options.pop("rho")}, "label_noise": noise}
    run = spec.Training(batch_size=5, epochs=20, **options)
    return Recipe.from_spec(run, spec.Regime.model_validate(regime))


@pytest.mark.usefixtures("batches")
def test_members_may_differ_in_numbers_and_labels() -> None:
    def make() -> list[Member]:
        own = [{"lr": 0.05, "rho": 0.1, "noise": 0.3}, {"lr": 0.02, "rho": 0.05, "noise": 0.0}]
        options = [{"momentum": 0.9, "weight_decay": 1e-2}, {"momentum": 0.5, "weight_decay": 0.0}]
        recipes = [_recipe(**one, momentum=None, optimizer_options=two) for one, two in zip(own, options, strict=True)]
        return [member(number, recipe) for number, recipe in enumerate(recipes)]

    first, second = make()
    assert pack_key(first.model, first.recipe, first.data) == pack_key(second.model, second.recipe, second.data)
    check_like_alone(make)


@pytest.mark.usefixtures("batches")
def test_to_the_bit_a_member_does_not_depend_on_its_company() -> None:
    recipe = replace(MOMENTUM, checkpoints_at_loss=(0.9,), epochs=6, update=partial(Sam, rho=0.1))
    packs = [[0], [0, 1], [2, 0, 1, 3, 4], [4, 0]]
    found = []
    for numbers in packs:
        members = [member(number, recipe, double=False) for number in numbers]
        ended = ends(members)["0"]
        assert isinstance(ended, History)
        found.append((vector(members[numbers.index(0)].model), ended))
    for weights, ended in found[1:]:
        assert torch.equal(weights, found[0][0])
        assert [epoch.batch_loss for epoch in ended.epochs] == [epoch.batch_loss for epoch in found[0][1].epochs]
        assert {k: v.step for k, v in ended.at_loss.items()} == {k: v.step for k, v in found[0][1].at_loss.items()}


def test_one_that_diverges_or_ends_early_leaves_the_others_as_they_are() -> None:
    def recipe(number: int) -> Recipe:
        return replace(MOMENTUM, lr=1e17 if number % 2 else 0.05, stop_at_loss=None)

    alone = {number: member(number, recipe(number), double=False) for number in range(4)}
    members = [member(number, recipe(number), double=False) for number in range(4)]
    found = ends(members)
    for number, single in alone.items():
        together = found[str(number)]
        if number % 2:
            with pytest.raises(Diverged) as expected:
                train(single.model, single.data, single.recipe, single.stream)
            assert isinstance(together, Diverged)
            assert str(together) == str(expected.value)
            assert len(together.history.epochs) == len(expected.value.history.epochs)
        else:
            ends([single])
            assert torch.equal(vector(members[number].model), vector(single.model))


def test_weights_that_the_last_step_breaks_are_told() -> None:
    far = data(kind=Dataset)
    far = replace(far, train_inputs=1e4 * far.train_inputs)
    recipe = replace(BASE, lr=3e38, epochs=1, batch_size=100)
    found = ends([member(0, recipe, far, double=False), member(1, replace(recipe, lr=0.1), far, double=False)])
    assert "is not finite" in str(found["0"])
    assert isinstance(found["1"], History)


def test_rows_that_are_nobodys_are_let_go() -> None:
    def recipe(number: int) -> Recipe:
        return replace(MOMENTUM, lr=1e25 if number else 0.05)

    adam = replace(BASE, optimizer="adam", lr=0.01)
    for make in (recipe, lambda number: replace(adam, lr=1e30 if number else 0.01)):
        members = [member(number, make(number), double=False) for number in range(6)]
        alone = member(0, make(0), double=False)
        ends(members)
        ends([alone])
        assert torch.equal(vector(members[0].model), vector(alone.model))


def _broken_off(members: Sequence[Member], path: Path, epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a pack, and break off after some epochs, as if the process had been killed."""
    from sharpscope.training.packs import loop

    whole = loop._Pack.epoch
    done = []

    def epoch(pack: Any) -> Any:
        if len(done) == epochs:
            raise Killed
        done.append(None)
        return whole(pack)

    monkeypatch.setattr(loop._Pack, "epoch", epoch)
    with pytest.raises(Killed):
        ends(members, checkpoint=path)
    monkeypatch.setattr(loop._Pack, "epoch", whole)


@pytest.mark.parametrize(
    "name", ["matched losses", "matched losses, all samples", "adam, sam", "sam", "a loss to stop at", "watched"]
)
def test_a_pack_goes_on_from_its_checkpoint_to_the_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, recipe = tmp_path / "pack.safetensors", RECIPES[name]
    whole = [member(number, recipe) for number in range(4)]
    expected = ends(whole)
    _broken_off([member(number, recipe) for number in range(4)], path, 3, monkeypatch)
    # One of them was done meanwhile.
    left = [member(number, recipe) for number in (3, 0, 2)]
    found = ends(left, checkpoint=path)
    for each in left:
        assert torch.equal(vector(each.model), vector(whole[int(each.name)].model))
        history, other = found[each.name], expected[each.name]
        assert isinstance(history, History)
        assert isinstance(other, History)
        assert [e.batch_loss for e in history.epochs] == [e.batch_loss for e in other.epochs]
        assert history.step == other.step
        assert history.at_loss.keys() == other.at_loss.keys()
        assert history.at_step.keys() == other.at_step.keys()


def test_a_checkpoint_of_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pack.safetensors"
    _broken_off([member(number, BASE) for number in range(2)], path, 2, monkeypatch)
    for other, told in (
        (member(2, BASE), "no member '2'"),
        (member(1, replace(BASE, lr=0.1)), "another '1': .* in lr"),
    ):
        with pytest.raises(CheckpointError, match=told):
            ends([member(0, BASE), other], checkpoint=path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        ends([member(0, BASE), member(1, BASE)], checkpoint=path)


def test_what_is_kept_of_a_member_is_its_own() -> None:
    members = [member(number, replace(MOMENTUM, checkpoints_at_loss=(0.9,)), double=False) for number in range(2)]
    found = ends(members)
    for ended in found.values():
        assert isinstance(ended, History)
        for name, tensor in ended.at_loss[0.9].weights.items():
            assert tensor.is_contiguous(), name
            assert tensor.untyped_storage().nbytes() == tensor.nbytes, name
    assert not math.isnan(float(vector(members[0].model).sum()))
