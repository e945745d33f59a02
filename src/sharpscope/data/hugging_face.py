"""Image and text classification sets of the Hugging Face Hub, or of folders in its formats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from sharpscope.data.dataset import Dataset, Source
from sharpscope.data.image_folder import crop_and_flip
from sharpscope.data.images import to_array
from sharpscope.data.registry import DATASETS
from sharpscope.data.selection import subsets
from sharpscope.errors import DataError
from sharpscope.extras import optional

# A text is its bytes in UTF-8; 0 is the empty place after its end.
BYTES = 257


@DATASETS.family("hf")
def hugging_face(
    name: str,
    source: Source,
    *,
    config: str | None = None,
    revision: str | None = None,
    train: str = "train",
    test: str = "test",
    inputs: str | None = None,
    labels: str | None = None,
    size: PositiveInt | None = None,
    length: PositiveInt = 256,
    train_size: int | None = None,
    test_size: int | None = None,
    subset_seed: int = 0,
) -> Dataset:
    """Any image or text classification set of the Hugging Face Hub, such as ``hf:uoft-cs/cifar10``.

    Texts become the bytes of their UTF-8, 257 symbols with the empty place. Images are augmented by a crop after
    padding with an eighth of the side, and by mirroring. It needs the extra ``datasets``, for images ``images`` too.

    Args:
        name: Of the set, or of a folder in one of the formats of the Hub, below the data directory.
        source: Where that folder may be; else the Hub's own cache is used.
        config: Which configuration of the set.
        revision: Which commit, tag or branch of it: without one, what the Hub has today.
        train: The split to train on.
        test: The split to test on.
        inputs: The column of images or texts; found by itself when None.
        labels: The column of classes; found by itself when None.
        size: The side to bring images to, cut to their middle square; needed where they are not all of one size.
        length: Places of a text; longer ones are cut off.
        train_size: Size of a stratified training subset; None for all. Sizes are nested.
        test_size: Size of a stratified test subset, the same for every seed; None for all.
        subset_seed: Which training subset of that size.

    Returns:
        Images as uint8 ``[N, 3, H, W]``, or symbols as int64 ``[N, length]``.

    Raises:
        DataError: If the set or a column is missing, its columns are of other kinds, or a package is not installed.
    """
    splits = [_loaded(name, source, split, config, revision) for split in (train, test)]
    features = splits[0].features
    label = _column(name, features, labels, ("ClassLabel",), "labels")
    column = _column(name, features, inputs, ("Image", "Value:string"), "inputs")
    classes = tuple(map(str, features[label].names))
    targets = [torch.tensor(split[label]) for split in splits]
    chosen = subsets(f"hf:{name}", targets[0], targets[1], train_size, test_size, subset_seed)
    parts = [split.select(indices.tolist()) for split, indices in zip(splits, chosen, strict=True)]
    text = _kind(features[column]) == "Value:string"
    held = [_texts(part[column], length) if text else _images(part[column], name, size) for part in parts]
    return Dataset(
        name=f"hf:{name}",
        train_inputs=held[0],
        train_targets=targets[0][chosen[0]],
        test_inputs=held[1],
        test_targets=targets[1][chosen[1]],
        classes=classes,
        mean=() if text else (0.5, 0.5, 0.5),
        std=() if text else (0.5, 0.5, 0.5),
        augment=None if text else crop_and_flip(max(1, held[0].shape[-1] // 8)),
        vocabulary=BYTES if text else None,
    )


def _loaded(name: str, source: Source, split: str, config: str | None, revision: str | None) -> Any:
    """Return one split of a set."""
    datasets = optional("datasets", "datasets", f"dataset 'hf:{name}'", DataError)
    local = source.home / name
    try:
        return datasets.load_dataset(
            str(local) if local.is_dir() else name,
            config,
            split=split,
            revision=revision,
            download_config=datasets.DownloadConfig(local_files_only=not source.download),
        )
    # The package raises whatever its many readers do.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"dataset 'hf:{name}', split '{split}', cannot be loaded: {reason}") from error


def _kind(feature: Any) -> str:
    """Return the kind of a column: ``Image``, ``ClassLabel``, ``Value:string``."""
    kind = type(feature).__name__
    return f"{kind}:{feature.dtype}" if kind == "Value" else kind


def _column(name: str, features: Any, asked: str | None, kinds: Sequence[str], option: str) -> str:
    """Return the column that was asked for, or the only one of the right kind."""
    fit = [column for column, feature in features.items() if _kind(feature) in kinds]
    if asked is not None and asked in fit:
        return asked
    if asked is None and len(fit) == 1:
        return fit[0]
    there = {column: _kind(feature) for column, feature in features.items()}
    wanted = "the columns of its set that fit" if asked is None else f"'{asked}', which is not one of those that fit"
    raise DataError(
        f"dataset 'hf:{name}' needs one column of kind {' or '.join(kinds)} for '{option}': got {wanted}, "
        f"{fit or 'none'}, of {there}; name it by the option '{option}'"
    )


def _texts(texts: Sequence[str], length: int) -> Tensor:
    """Return the bytes of each text and 1, int64 ``[N, length]``; 0 after its end."""
    symbols = torch.zeros(len(texts), length, dtype=torch.int64)
    for row, text in zip(symbols, texts, strict=True):
        packed = np.frombuffer(text.encode()[:length], np.uint8)
        row[: len(packed)] = torch.from_numpy(packed.astype(np.int64) + 1)
    return symbols


def _images(images: Sequence[Any], name: str, size: int | None) -> Tensor:
    arrays = [to_array(image, size) for image in images]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise DataError(
            f"dataset 'hf:{name}' has images of {len(shapes)} sizes; bring them to one by the option 'size'"
        )
    return torch.from_numpy(np.stack(arrays))
