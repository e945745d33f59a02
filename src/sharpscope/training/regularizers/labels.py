"""Labels that are wrong on purpose."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

from pydantic import Field

from sharpscope.data import Dataset
from sharpscope.data.draws import Draws
from sharpscope.seeding import Stream
from sharpscope.training.recipe import Recipe
from sharpscope.training.registry import OF_CLASSES, REGIMES


def redrawn(data: Dataset, *, probability: float) -> Dataset:
    """Return a dataset with some labels of its training split drawn anew from all classes.

    The draws belong to the place of a sample in the dataset: the same in every run and regime, and more labels are
    redrawn at a larger probability, none fewer. So applying it again changes nothing.

    Args:
        data: The dataset; its test split is left alone.
        probability: Of a label to be redrawn; it may come out as it was.
    """
    draws = Draws(Stream("label noise", data.name), 0, len(data.train_targets), data.train_targets.device)
    label = (draws.uniform("label").double() * len(data.classes)).long()
    chosen = draws.uniform("whether") < probability
    return replace(data, train_targets=data.train_targets.where(~chosen, label))


@REGIMES.register(facts=OF_CLASSES)
def label_noise(recipe: Recipe, *, probability: Annotated[float, Field(ge=0, le=1)] = 0.2) -> Recipe:
    """Random labels for a share of the training data: a change of the data, not a regularizer.

    The same labels in every run of a dataset, whatever its seed and other parts of the regime. The network is trained
    on them; ``Recipe.training_data`` has them for whatever is measured on the labels trained on.

    Args:
        recipe: The recipe to change.
        probability: Of a label to be drawn anew, evenly from all classes.

    Reference: Zhang et al., "Understanding Deep Learning Requires Rethinking Generalization", ICLR 2017.
    """
    return recipe.with_only("labels", relabel=partial(redrawn, probability=probability))
