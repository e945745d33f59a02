"""Seeded, stratified subsets of labeled samples."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sharpscope.errors import DataError
from sharpscope.seeding import Stream


def stratified(
    targets: Tensor, size: int | None, stream: Stream, *, every_class: Literal["inside", "outside"] | None = None
) -> Tensor:
    """Return a random subset in which every class keeps its share, to within one sample of rounding.

    Subsets of one stream are nested: the subset of 300 lies inside the subset of 500, so training set sizes
    can be compared without comparing different samples.

    Args:
        targets: Class indices, shape ``[N]``.
        size: Size of the subset; None for all samples.
        stream: Decides which samples; the same stream gives the same subset on every machine.
        every_class: Where each class keeps at least one sample, though rounding may leave it none: ``inside`` the
            subset, which is to be trained on, or ``outside``, where it is held out. Of a rare class this may take
            more than its share.

    Returns:
        Indices into ``targets`` in ascending order, int64 ``[size]``.

    Raises:
        DataError: If ``size`` is not in 1..N, or does not leave a sample for every class.

    >>> chosen = stratified(torch.tensor([0, 1, 0, 1, 0, 1]), 4, Stream("example"))
    >>> torch.tensor([0, 1, 0, 1, 0, 1])[chosen].sort().values.tolist()
    [0, 0, 1, 1]
    """
    if size is None:
        return torch.arange(len(targets))
    if not 1 <= size <= len(targets):
        raise DataError(f"a subset of {size} was asked for; {len(targets)} samples give 1 to {len(targets)}")
    labels = targets.cpu().numpy()
    order = stream.numpy().permutation(len(labels))
    shuffled = labels[order]
    # The k-th of n samples of a class gets the key (k + 1/2) / n. Any prefix of the samples sorted by their
    # keys then holds an equal share of each class. Classes of one size tie; the shuffled order settles it.
    keys = np.empty(len(labels))
    # What must be inside comes before all others, what must be outside after them. So a prefix is what it would be
    # without, wherever that has lost no class.
    rank = np.zeros(len(labels), dtype=int)
    for label in np.unique(labels):
        members = np.flatnonzero(shuffled == label)
        keys[members] = (np.arange(len(members)) + 0.5) / len(members)
        if every_class == "inside":
            rank[members[0]] = -1
        elif every_class == "outside":
            rank[members[-1]] = 1
    _check_room(size, int(np.count_nonzero(rank)), len(labels), every_class)
    prefix = order[np.lexsort((keys, rank))[:size]]
    return torch.from_numpy(np.sort(prefix))


def random_subset(samples: int, size: int | None, stream: Stream) -> Tensor:
    """Return a random subset of samples that have no classes; subsets of one stream are nested.

    Args:
        samples: How many there are, N.
        size: Size of the subset; None for all samples.
        stream: Decides which samples.

    Returns:
        Indices in ascending order, int64 ``[size]``.

    Raises:
        DataError: If ``size`` is not in 1..N.
    """
    return stratified(torch.zeros(samples, dtype=torch.int64), size, stream)


def _check_room(size: int, classes: int, samples: int, every_class: str | None) -> None:
    if every_class == "inside" and size < classes:
        raise DataError(
            f"a subset of {size} of {samples} samples cannot have one of each of the {classes} classes; ask for "
            f"{classes} or more"
        )
    if every_class == "outside" and samples - size < classes:
        raise DataError(
            f"holding out {size} of {samples} samples does not leave one of each of the {classes} classes to train on; "
            f"hold out {samples - classes} at most"
        )


def subsets(
    name: str,
    train_targets: Tensor,
    test_targets: Tensor,
    train_size: int | None,
    test_size: int | None,
    subset_seed: int,
) -> tuple[Tensor, Tensor]:
    """Return which samples of two published splits a dataset holds; the test set is the same for every seed.

    The training set has a sample of each class at least.

    Args:
        name: Of the dataset; each draws from its own streams.
        train_targets: Class indices of the training split.
        test_targets: Class indices of the test split.
        train_size: Size of a stratified training subset; None for all. Sizes are nested.
        test_size: Likewise, of the test split.
        subset_seed: Which training subset of that size.

    Returns:
        Indices into both splits, in ascending order.

    Raises:
        DataError: If a size is out of range, or a class is tested that there is nothing to learn of.
    """
    unknown = sorted(set(test_targets.unique().tolist()) - set(train_targets.unique().tolist()))
    if unknown:
        raise DataError(
            f"dataset '{name}' has test samples of {len(unknown)} classes without a training sample, such as class "
            f"{unknown[0]}; name other splits"
        )
    train = stratified(train_targets, train_size, Stream(name, "train", subset_seed), every_class="inside")
    return train, stratified(test_targets, test_size, Stream(name, "test"))
