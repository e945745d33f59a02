"""Which samples are trained on: whatever is held out or drawn anew, no class is lost without a word."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpscope.data import Dataset
from sharpscope.errors import DataError
from sharpscope.seeding import Stream
from sharpscope.spec import Regime, Training
from sharpscope.training import Recipe
from sharpscope.training.minibatches import held_out, lost_classes


def dataset_of(counts):
    targets = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    inputs = torch.arange(len(targets), dtype=torch.float32)[:, None]
    classes = tuple(f"class{label}" for label in range(len(counts)))
    return Dataset("rare", inputs, targets, inputs, targets, classes, (0.0,), (1.0,))


def recipe_of(**parts):
    return Recipe.from_spec(Training(), Regime.model_validate(parts))


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.one_of(st.integers(1, 3), st.integers(1, 30)), min_size=2, max_size=8),
    st.floats(0.01, 0.99),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_early_stopping_leaves_every_class_a_sample_or_says_so(counts, share, noise):
    data = dataset_of(counts)
    recipe = recipe_of(early_stopping={"share": share}, **({"label_noise": {"probability": noise}} if noise else {}))
    given_labels = recipe.training_data(data, Stream(0)).train_targets
    present = set(given_labels.tolist())
    size = max(1, round(share * len(given_labels)))
    if len(given_labels) - size < len(present):
        for action in (
            lambda: held_out(recipe.training_data(data, Stream(0)), recipe, Stream(0)),
            lambda: lost_classes(data, recipe, Stream(0)),
        ):
            with pytest.raises(
                DataError, match=f"holding out {size} of {sum(counts)} samples does not leave one of each"
            ):
                action()
        return
    left, (inputs, targets) = held_out(recipe.training_data(data, Stream(0)), recipe, Stream(0))
    assert len(inputs) == len(targets) == size
    assert set(left.train_targets.tolist()) == present
    assert sorted([*left.train_inputs.squeeze(1).tolist(), *inputs.squeeze(1).tolist()]) == list(range(sum(counts)))
    lost = [f"class{label}" for label in range(len(counts)) if label not in present]
    assert lost_classes(data, recipe, Stream(0)) == lost


def test_classes_that_a_dataset_never_had_are_not_lost():
    data = replace(dataset_of([3, 3, 3]), classes=("a", "b", "c", "nobody"))
    assert lost_classes(data, recipe_of(early_stopping={"share": 0.5}), Stream(0)) == []
