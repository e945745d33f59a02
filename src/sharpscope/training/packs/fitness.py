"""Which trainings can be in one pack, and why one can be in none."""

from __future__ import annotations

import json

from torch import nn

from sharpscope.data import Dataset
from sharpscope.training.averaging import LastIterate
from sharpscope.training.checkpoint import described
from sharpscope.training.packs.network import CHUNK, Affine, Network, NotPacked
from sharpscope.training.packs.optimizers import OPTIMIZERS_OF_PACKS
from sharpscope.training.packs.steps import options_of, step_of
from sharpscope.training.recipe import Recipe

# Networks of a pack at most, and the numbers that their weights, or what lies between their layers, may have together.
LARGEST = 64
ROOM = 1 << 20
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
    optimizer = OPTIMIZERS_OF_PACKS[recipe.optimizer]
    layers = [layer.number if isinstance(layer, Affine) else layer.name for layer in network.layers]
    places = [(place.name, place.inputs, place.outputs, place.bias) for place in network.places]
    update = {name: value for name, value in options_of(recipe).items() if not _is_number(value)}
    options = {name: value for name, value in recipe.optimizer_options.items() if name not in optimizer.scalars}
    shape = [data.task.name, list(data.train_inputs.shape), list(data.train_targets.shape), len(data.classes)]
    shared = {name: value for name, value in described(recipe).items() if name not in _OWN}
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
    return max(2, min(LARGEST, ROOM // max(weights, min(recipe.batch_size, samples) * kept)))


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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
