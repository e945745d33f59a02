"""Seeded, stratified subsets of labeled samples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sharpscope.errors import DataError
from sharpscope.seeding import Stream


def stratified(targets: Tensor, size: int | None, stream: Stream) -> Tensor:
    """Return a random subset in which every class keeps its share, to within one sample of rounding.

    Subsets of one stream are nested: the subset of 300 lies inside the subset of 500, so training set sizes
    can be compared without comparing different samples.

    Args:
        targets: Class indices, shape ``[N]``.
        size: Size of the subset; None for all samples.
        stream: Decides which samples; the same stream gives the same subset on every machine.

    Returns:
        Indices into ``targets`` in ascending order, int64 ``[size]``.

    Raises:
        DataError: If ``size`` is not in 1..N.

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
    for label in np.unique(labels):
        members = shuffled == label
        count = np.count_nonzero(members)
        keys[members] = (np.arange(count) + 0.5) / count
    prefix = order[np.argsort(keys, kind="stable")[:size]]
    return torch.from_numpy(np.sort(prefix))
