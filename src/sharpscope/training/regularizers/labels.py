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


def redrawn(data: Dataset, stream: Stream, *, probability: float, per_seed: bool) -> Dataset:
    """Return a dataset with some labels of its training split drawn anew from all classes.

    The draws belong to the place of a sample in the dataset: the same in every regime, and more labels are redrawn at a
    larger probability, none fewer. So applying it again changes nothing.

    Args:
        data: The dataset; its test split is left alone.
        stream: Of the training.
        probability: Of a label to be redrawn; it may come out as it was.
        per_seed: Whether the draws belong to the training too; else they are the same in every training.
    """
    source = stream.child("label noise") if per_seed else Stream("label noise", data.name)
    draws = Draws(source, 0, len(data.train_targets), data.train_targets.device)
    label = (draws.uniform("label").double() * len(data.classes)).long()
    chosen = draws.uniform("whether") < probability
    return replace(data, train_targets=data.train_targets.where(~chosen, label))


@REGIMES.register(facts=OF_CLASSES)
def label_noise(
    recipe: Recipe, *, probability: Annotated[float, Field(ge=0, le=1)] = 0.2, per_seed: bool = False
) -> Recipe:
    """Random labels for a share of the training data: a change of the data, not a regularizer.

    The same labels whatever the other parts of the regime. The network is trained on them; ``Recipe.training_data`` has
    them for whatever is measured on the labels trained on.

    With few samples one draw of labels is not like another, and what is found with it need not hold for others: then
    let each seed have its own.

    Args:
        recipe: The recipe to change.
        probability: Of a label to be drawn anew, evenly from all classes.
        per_seed: Whether each seed has labels of its own; else all runs of a dataset have the same.

    Reference: Zhang et al., "Understanding Deep Learning Requires Rethinking Generalization", ICLR 2017.
    """
    return recipe.with_only("labels", relabel=partial(redrawn, probability=probability, per_seed=per_seed))
