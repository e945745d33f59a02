"""Which trainings can be in one pack, and why one can be in none."""

from __future__ import annotations

import json
import math
import sys
import warnings
from dataclasses import fields
from operator import attrgetter
from types import MethodType
from typing import Any

import torch
from torch import nn

from sharpscope.data import Dataset
from sharpscope.errors import FAULTS
from sharpscope.registry import Registration
from sharpscope.training.averaging import LastIterate
from sharpscope.training.checkpoint import as_json
from sharpscope.training.packs.losses import Differentiated
from sharpscope.training.packs.network import CHUNK, Affine, Network, NotPacked
from sharpscope.training.packs.optimizers import OPTIMIZERS_OF_PACKS
from sharpscope.training.packs.steps import options_of, step_of
from sharpscope.training.recipe import LossFunction, Recipe

# Networks of a pack at most, and the numbers that their weights, or what lies between their layers, may have together.
LARGEST = 64
ROOM = 1 << 20
# Weights that are held until the end of an epoch, of all networks together.
_HELD = 1 << 26
# Networks of a pack from which more make a step of each hardly cheaper.
_COMPANY = 16

# What the networks of a pack may differ in, beside their options of the update step that are numbers.
_OWN = {"lr", "decoupled_decay", "relabel", "tasks", "update", "optimizer_options"}


def pack_key(model: nn.Module, recipe: Recipe, data: Dataset) -> str:
    """Return text that is equal for trainings that can be in one pack.

    Raises:
        NotPacked: If this one can be in none.
    """
    check_recipe(recipe)
    network = Network.of(model)
    if data.vocabulary is not None:
        raise NotPacked("symbols as data")
    if network.inputs != math.prod(data.train_inputs.shape[1:]):
        raise NotPacked("a first layer that takes a part of each sample")
    if recipe.loss is not None:
        _check_loss(recipe.loss, data)
    optimizer = OPTIMIZERS_OF_PACKS[recipe.optimizer]
    layers = [layer.number if isinstance(layer, Affine) else layer.name for layer in network.layers]
    places = [(place.name, place.inputs, place.outputs, place.bias) for place in network.places]
    update = {name: value for name, value in options_of(recipe).items() if not _is_number(value)}
    options = {name: value for name, value in recipe.optimizer_options.items() if name not in optimizer.scalars}
    shape = [data.task.name, list(data.train_inputs.shape), list(data.train_targets.shape), len(data.classes)]
    shared = {part.name: as_json(getattr(recipe, part.name), _name) for part in fields(recipe) if part.name not in _OWN}
    key = [layers, places, shape, step_of(recipe).__name__, update, options, shared]
    return json.dumps(key, default=str)


def pack_size(model: nn.Module, recipe: Recipe, samples: int) -> int:
    """Return how many networks are best trained together: as many as a cache has room for, or a few more.

    Args:
        model: One of them.
        recipe: How it is trained.
        samples: That it is trained on.

    Raises:
        NotPacked: If they are so large that nothing is gained.
    """
    network = Network.of(model)
    weights = sum(place.size for place in network.places)
    if 2 * weights > ROOM:
        raise NotPacked(f"networks as large as {weights:,} weights")
    apart = _goes_apart(recipe, samples)
    # Where they go apart only the samples are there for all.
    kept = network.inputs if apart else sum(place.inputs + place.outputs for place in network.places)
    size = min(LARGEST, ROOM // max(weights, min(recipe.batch_size, samples) * kept))
    if recipe.check_loss_every is not None:
        # The weights after so many steps of an epoch are held until its end.
        held = math.ceil(math.ceil(samples / recipe.batch_size) / recipe.check_loss_every)
        size = min(size, _HELD // (held * weights))
    return max(2, size)


def enough_company(recipe: Recipe, samples: int) -> int:
    """Return how many networks are enough for a pack: more make it hardly faster, and another process does.

    Args:
        recipe: How they are trained.
        samples: That each is trained on.
    """
    return 2 if _goes_apart(recipe, samples) else _COMPANY


def _goes_apart(recipe: Recipe, samples: int) -> bool:
    """Return whether batches are so large that they go through the networks one by one."""
    return min(recipe.batch_size, samples) >= CHUNK


def check_recipe(recipe: Recipe) -> None:
    """See that a recipe does nothing that packs do not.

    Raises:
        NotPacked: If it does.
    """
    if recipe.optimizer not in OPTIMIZERS_OF_PACKS:
        raise NotPacked(f"the optimizer {recipe.optimizer}")
    OPTIMIZERS_OF_PACKS[recipe.optimizer].check(recipe)
    step_of(recipe)
    unfit = {
        "augmentation": recipe.augment or recipe.image_changes,
        "mixed samples": recipe.mix,
        "a penalty": recipe.penalties,
        "something attached to the model": recipe.attachments,
        "averaged weights": recipe.averaging is not LastIterate,
        "early stopping": recipe.early_stopping,
        f"the precision {recipe.precision}": recipe.precision != "float32",
        "compilation": recipe.compile,
        "accumulated gradients": recipe.accumulate > 1,
    }
    for reason, holds in unfit.items():
        if holds:
            raise NotPacked(reason)


def _check_loss(loss: LossFunction, data: Dataset) -> None:
    """See that the derivative of an own loss can be made for many networks at once.

    Raises:
        NotPacked: If it cannot, as where it picks samples by their values.
    """
    targets = data.train_targets[:2]
    outputs, theirs = torch.zeros(2, len(targets), data.outputs), targets.expand(2, *targets.shape)
    try:
        with warnings.catch_warnings():
            # What has no rule for many at once is computed network by network.
            warnings.filterwarnings("error", message="There is a performance drop")
            Differentiated(loss).derivative(outputs, theirs)
    except FAULTS as error:
        raise NotPacked("a loss that cannot be computed for many networks at once") from error


def _name(function: Any) -> Any:
    """Return JSON that tells a function from all others.

    Raises:
        NotPacked: If there is none: what it computes may depend on where it was made.
    """
    if isinstance(function, Registration):
        return [function.kind, function.name]
    owner = getattr(function, "__self__", None)
    if isinstance(function, MethodType) and not isinstance(owner, type) and not vars(owner):
        # Such as the loss of a task, which is all that there is of it.
        return [_name(type(owner)), function.__name__]
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    try:
        found = attrgetter(name)(sys.modules[str(module)])
    except (AttributeError, KeyError):
        found = None
    if found is not function:
        raise NotPacked("a function of a recipe that is no function of a module")
    return f"{module}.{name}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
