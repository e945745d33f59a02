"""Which trainings can be in one pack, how many of them, and why one can be in none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sharpscope import spec
from sharpscope.data import Dataset
from sharpscope.models import build
from sharpscope.objective import Classification
from sharpscope.seeding import Stream
from sharpscope.training import Recipe
from sharpscope.training.packs import NotPacked, enough_company, pack_key, pack_size
from sharpscope.training.schedules import cosine
from sharpscope.training.updates.sam import Sam

from .test_packs import BASE, data


def _pack_key(recipe: Recipe = BASE, model: nn.Module | None = None, dataset: Dataset | None = None) -> str:
    dataset = dataset or data()
    return pack_key(model or build("mlp", dataset.input_shape, 3, Stream("init")), recipe, dataset)


def _shared() -> nn.Module:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(4, 3))


def _frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3))
    model[0].requires_grad_(False)
    return model


def _hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3))
    model[0].register_forward_hook(lambda module, inputs, outputs: outputs + 1)
    return model


def _of(part: str, **options: Any) -> Recipe:
    return Recipe.from_spec(spec.Training(), spec.Regime.model_validate({part: options}))


def _trimmed(outputs: Tensor, targets: Tensor) -> Tensor:
    losses = cross_entropy(outputs, targets, reduction="none")
    return losses[losses <= losses.median()].mean()


def _power(outputs: Tensor, targets: Tensor, power: float = 1.0) -> Tensor:
    return cross_entropy(outputs, targets, reduction="none").pow(power).mean()


def _made(power: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda outputs, targets: _power(outputs, targets, power)


ALONE = {
    "takes a part of each sample": lambda: _pack_key(model=nn.Sequential(nn.Linear(2, 3))),
    "a part of what the layer before gives": lambda: _pack_key(
        model=nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    ),
    "for many networks at once": lambda: _pack_key(replace(BASE, loss=_trimmed)),
    "no function of a module": lambda: _pack_key(replace(BASE, loss=_made(2.0))),
    "a recipe that is no function of a module": lambda: _pack_key(
        replace(BASE, loss=nn.CrossEntropyLoss(label_smoothing=0.1))
    ),
    "dampening without momentum": lambda: _pack_key(replace(BASE, optimizer_options={"dampening": 0.5})),
    "layer of type BatchNorm1d": lambda: _pack_key(model=nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))),
    "layer of type Conv2d": lambda: _pack_key(model=nn.Sequential(nn.Conv2d(1, 2, 3))),
    "layer of type Dropout": lambda: _pack_key(model=nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.1))),
    "does not follow a linear layer": lambda: _pack_key(model=nn.Sequential(nn.Tanh(), nn.Linear(4, 3))),
    "an activation that does not follow": lambda: _pack_key(
        model=nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Tanh(), nn.Linear(3, 3))
    ),
    "layers that share weights": lambda: _pack_key(model=_shared()),
    "not trained": lambda: _pack_key(model=_frozen()),
    "hooks": lambda: _pack_key(model=_hooked()),
    "the update step GapSam": lambda: _pack_key(_of("gsam")),
    "the update step FriendlySam": lambda: _pack_key(_of("fsam")),
    "the update step LookSam": lambda: _pack_key(_of("looksam")),
    "mixed samples": lambda: _pack_key(_of("mixup")),
    "averaged": lambda: _pack_key(_of("ema")),
    "early stopping": lambda: _pack_key(_of("early_stopping")),
    "augmentation": lambda: _pack_key(_of("augmentation")),
    "penalty": lambda: _pack_key(replace(BASE, penalties=(lambda model: model,))),
    "the optimizer rmsprop": lambda: _pack_key(replace(BASE, optimizer="rmsprop")),
    "option amsgrad": lambda: _pack_key(replace(BASE, optimizer="adam", optimizer_options={"amsgrad": True})),
    "numbers above 1e\\+18": lambda: _pack_key(replace(BASE, lr=1e39)),
    "precision bf16": lambda: _pack_key(replace(BASE, precision="bf16")),
    "compilation": lambda: _pack_key(replace(BASE, compile=True)),
    "accumulated": lambda: _pack_key(replace(BASE, accumulate=2)),
}


@pytest.mark.parametrize("reason", ALONE)
def test_what_is_trained_alone_says_why(reason: str) -> None:
    with pytest.raises(NotPacked, match=reason):
        ALONE[reason]()


def test_what_must_be_alike_in_a_pack() -> None:
    others = [
        _pack_key(replace(BASE, batch_size=6)),
        _pack_key(replace(BASE, epochs=21)),
        _pack_key(replace(BASE, schedule=cosine)),
        _pack_key(replace(BASE, update=partial(Sam, rho=0.1))),
        _pack_key(replace(BASE, update=partial(Sam, rho=0.1, adaptive=True))),
        _pack_key(replace(BASE, optimizer="adam")),
        _pack_key(dataset=data(samples=24)),
        _pack_key(model=build("mlp", (4,), 3, Stream("init"), activation="tanh")),
        _pack_key(model=build("mlp", (4,), 3, Stream("init"), hidden=(8,))),
    ]
    assert len({_pack_key(), *others}) == len(others) + 1


def test_losses_are_told_apart_by_what_they_are_and_what_is_bound_to_them() -> None:
    losses = [None, cross_entropy, _power, partial(_power, power=1.0), partial(_power, power=2.0)]
    losses += [partial(Classification().loss, label_smoothing=share) for share in (0.1, 0.2)]
    assert len({_pack_key(replace(BASE, loss=loss)) for loss in losses}) == len(losses)
    again = partial(Classification().loss, label_smoothing=0.1)
    assert _pack_key(replace(BASE, loss=again)) == _pack_key(replace(BASE, loss=losses[-2]))


def test_a_pack_holds_no_more_weights_of_an_epoch_than_there_is_room_for() -> None:
    model = build("mlp", (2,), 2, Stream("init"), hidden=(100, 100))
    recipe = replace(BASE, batch_size=1, check_loss_every=1)
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert pack_size(model, recipe, 100) == 63
    assert pack_size(model, recipe, 1000) == 2**26 // (1000 * weights) == 6
    assert pack_size(model, replace(recipe, check_loss_every=10), 1000) == 63


def test_a_pack_has_as_many_as_a_cache_has_room_for() -> None:
    def size(hidden: tuple[int, ...], samples: int, batch: int) -> int:
        model = build("mlp", (2,), 2, Stream("init"), hidden=hidden)
        return pack_size(model, replace(BASE, batch_size=batch), samples)

    assert size((4,), 100, 5) == 64
    assert size((500, 500), 100, 5) == 4
    with pytest.raises(NotPacked, match="networks as large as 1,006,002 weights"):
        size((1000, 1000), 100, 5)
    assert size((64, 64), 10_000, 1000) == 4, "what lies between the layers"
    assert size((64, 64), 10_000, 10_000) == 52, "the samples"


def test_networks_that_batches_go_through_one_by_one_need_no_company() -> None:
    few, many = replace(BASE, batch_size=5), replace(BASE, batch_size=10_000)
    assert enough_company(few, 10_000) == enough_company(many, 100) > 2
    assert enough_company(many, 10_000) == 2
