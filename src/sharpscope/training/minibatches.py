"""The batches of a training: their order, and what they pass through on the way to the model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sharpscope.data import Dataset
from sharpscope.data.subsets.selection import stratified
from sharpscope.seeding import Stream
from sharpscope.training.recipe import Recipe
from sharpscope.training.steps import MiniBatch


class MiniBatches:
    """The training data, batch by batch: gathered, augmented, normalized and mixed.

    Every purpose has a stream of its own, so a regime that draws more changes nothing else.

    Args:
        data: The training split is used.
        recipe: How batches are made.
        stream: Of the training.
        device: Where the data lives.
    """

    def __init__(self, data: Dataset, recipe: Recipe, stream: Stream, device: torch.device) -> None:
        self._inputs, self._targets = data.train_inputs.to(device), data.train_targets.to(device)
        self._data = data
        # A batch has all samples at most, whatever the recipe would take.
        self._batch_size = min(recipe.batch_size, len(self._inputs))
        self._changes = {"augment": recipe.augmentation(data), **recipe.image_changes}
        self._mix = recipe.mix
        self._order = stream.child("order").torch()
        self._draws = {purpose: stream.child(purpose).torch(device) for purpose in (*self._changes, "mix")}

    def __len__(self) -> int:
        """Return the number of batches an epoch."""
        return math.ceil(len(self._inputs) / self._batch_size)

    def __iter__(self) -> Iterator[MiniBatch]:
        """Go once through the data, in a new order."""
        permutation = torch.randperm(len(self._inputs), generator=self._order).to(self._inputs.device)
        for chosen in permutation.split(self._batch_size):
            yield self._make(chosen)

    def _make(self, chosen: Tensor) -> MiniBatch:
        images, targets = self._inputs[chosen], self._targets[chosen]
        for purpose, change in self._changes.items():
            images = change(images, self._draws[purpose])
        inputs = self._data.normalize(images)
        if self._mix is not None:
            inputs, targets = self._mix(inputs, targets, len(self._data.classes), self._draws["mix"])
        return MiniBatch(inputs, targets)

    def clean(self) -> Iterator[Tensor]:
        """Go once through the inputs as they are, in a fixed order and in batches of about equal size."""
        for images in self._inputs.tensor_split(len(self)):
            yield self._data.normalize(images)

    def state_dict(self) -> dict[str, Any]:
        """Return where each stream of random numbers is."""
        states = {purpose: draws.get_state() for purpose, draws in self._draws.items()}
        return {"order": self._order.get_state(), "draws": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._order.set_state(state["order"])
        for purpose, draws in self._draws.items():
            draws.set_state(state["draws"][purpose])


def trained_on(samples: int, recipe: Recipe) -> int:
    """Return how many of the training samples are left to train on."""
    return samples if recipe.early_stopping is None else samples - max(1, round(recipe.early_stopping.share * samples))


def steps_of(samples: int, recipe: Recipe) -> int:
    """Return the number of steps of a whole training on so many training samples."""
    return recipe.epochs * math.ceil(trained_on(samples, recipe) / recipe.batch_size)


def smallest_part(samples: int, recipe: Recipe) -> int:
    """Return the least number of samples that a model is given at a time: of the last batch or micro-batch."""
    left = trained_on(samples, recipe)
    batches = {min(recipe.batch_size, left), left % recipe.batch_size or recipe.batch_size}
    parts = [(size, math.ceil(size / recipe.accumulate)) for size in batches]
    return min(size % part or part for size, part in parts)


def held_out(data: Dataset, recipe: Recipe, stream: Stream) -> tuple[Dataset, tuple[Tensor, Tensor] | None]:
    """Take out of the training data what early stopping looks at.

    Args:
        data: The training split is divided.
        recipe: Says how much is held out.
        stream: Of the training.

    Returns:
        The data left to train on, and the inputs and targets held out; None without early stopping.

    Raises:
        DataError: If a class would have no sample left to train on.
    """
    if recipe.early_stopping is None:
        return data, None
    chosen = _to_hold_out(data.objective.strata(data.train_targets), recipe, stream)
    left = torch.ones(len(data.train_targets), dtype=torch.bool).index_fill(0, chosen, False)
    remaining = replace(data, train_inputs=data.train_inputs[left], train_targets=data.train_targets[left])
    return remaining, (data.train_inputs[chosen], data.train_targets[chosen])


def lost_classes(data: Dataset, recipe: Recipe, stream: Stream) -> list[str]:
    """Return the classes that have training samples and, once the recipe has drawn labels anew, have none.

    Raises:
        DataError: If what the recipe holds out would take the last sample of a class.
    """
    strata = data.objective.strata(recipe.training_data(data, stream).train_targets)
    if recipe.early_stopping is not None:
        _to_hold_out(strata, recipe, stream)
    kept = set(strata.unique().tolist())
    before = data.objective.strata(data.train_targets).unique().tolist()
    return [data.classes[label] for label in before if label not in kept]


def _to_hold_out(strata: Tensor, recipe: Recipe, stream: Stream) -> Tensor:
    size = len(strata) - trained_on(len(strata), recipe)
    return stratified(strata, size, stream.child("held-out"), every_class="outside")
