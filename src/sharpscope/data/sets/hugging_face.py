"""Image and text classification sets of the Hugging Face Hub, or of folders in its formats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from sharpscope.data.dataset import Dataset, DataSource
from sharpscope.data.files.images import Background, to_array
from sharpscope.data.registry import DATASETS
from sharpscope.data.sets.image_folder import crop_and_flip
from sharpscope.data.subsets.parts import Sizes
from sharpscope.errors import DataError
from sharpscope.extras import optional

# A text is its bytes in UTF-8; 0 is the empty place after its end.
BYTES = 257


@DATASETS.family("hf")
def hugging_face(
    name: str,
    source: DataSource,
    *,
    config: str | None = None,
    revision: str | None = None,
    train: str = "train",
    test: str = "test",
    inputs: str | None = None,
    labels: str | None = None,
    size: PositiveInt | None = None,
    length: PositiveInt = 256,
    background: Background | None = None,
    train_size: int | None = None,
    test_size: int | None = None,
    subset_seed: int = 0,
    calibration_size: int | None = 0,
) -> Dataset:
    """Any image or text classification set of the Hugging Face Hub, such as ``hf:uoft-cs/cifar10``.

    Texts become the bytes of their UTF-8, 257 symbols with the empty place. Images are augmented by a crop after
    padding with an eighth of the side, and by mirroring; those are refused that ``image_folder`` refuses. It needs the
    extra ``datasets``, for images ``images`` too.

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
        background: The color behind transparent places, ``white`` or ``black``; images with such are refused when None.
        train_size: Size of a stratified training subset; None for all. Sizes are nested.
        test_size: Size of a stratified test subset, the same for every seed; None for all.
        subset_seed: Which training subset of that size.
        calibration_size: Samples to calibrate on, which are not trained on and are read as well. None for some that
            ``train_size`` leaves over. A number is taken off the training set where ``train_size`` is None.

    Returns:
        Images as uint8 ``[N, 3, H, W]``, or symbols as int64 ``[N, length]``.

    Raises:
        DataError: If the set or a column is missing, its columns are of other kinds, a label, text or image is missing
            or unfit, or a package is not installed.
    """
    if train == test:
        raise DataError(
            f"split '{train}' of dataset 'hf:{name}' would be both trained and tested on, which tells nothing of new "
            "samples; name two splits"
        )
    splits = [_loaded(name, source, split, config, revision) for split in (train, test)]
    features = splits[0].features
    label = _column(name, features, labels, ("ClassLabel",), "labels")
    column = _column(name, features, inputs, ("Image", "Value:string"), "inputs")
    classes = tuple(map(str, features[label].names))
    targets = [
        _labels(split, label, len(classes), f"dataset 'hf:{name}', split '{part}'")
        for split, part in zip(splits, (train, test), strict=True)
    ]
    sizes = Sizes(train_size, test_size, subset_seed, calibration_size)
    parts = sizes.parts(f"hf:{name}", *targets)
    text = _kind(features[column]) == "Value:string"

    def read(split: Any, chosen: Tensor) -> Tensor:
        rows = _Rows(split.select_columns([column]), column, chosen.tolist(), f"dataset 'hf:{name}'")
        return _texts(rows, length) if text else _images(rows, size, background)

    train_inputs = read(splits[0], parts.train)
    return Dataset(
        name=f"hf:{name}",
        train_inputs=train_inputs,
        train_targets=targets[0][parts.train],
        test_inputs=read(splits[1], parts.test),
        test_targets=targets[1][parts.test],
        classes=classes,
        mean=() if text else (0.5, 0.5, 0.5),
        std=() if text else (0.5, 0.5, 0.5),
        augment=None if text else crop_and_flip(max(1, train_inputs.shape[-1] // 8)),
        vocabulary=BYTES if text else None,
        calibration=parts.to_calibrate(lambda chosen: read(splits[0], chosen), targets[0]),
    )


def _loaded(name: str, source: DataSource, split: str, config: str | None, revision: str | None) -> Any:
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


def _labels(split: Any, column: str, classes: int, where: str) -> Tensor:
    """Return the classes of all samples, int64 ``[N]``; sets without labels have -1 or nothing in their place."""
    labels = list(split[column])
    missing = sum(label is None or not 0 <= label < classes for label in labels)
    if missing:
        raise DataError(
            f"{where} has {missing} of {len(labels)} samples without a class in column '{column}'; name another split"
        )
    return torch.tensor(labels)


@dataclass(frozen=True)
class _Rows:
    """Some rows of a column, decoded one at a time.

    Attributes:
        split: Of the set.
        column: The column.
        indices: Of the rows.
        where: What the set is called, for messages.
    """

    split: Any
    column: str
    indices: list[int]
    where: str

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yield what each row is called and what it holds.

        Raises:
            DataError: If it holds nothing, or what cannot be decoded.
        """
        for index in self.indices:
            where = f"row {index} of column '{self.column}' of {self.where}"
            try:
                value = self.split[index][self.column]
            # Decoding raises whatever the readers of its many formats do.
            except Exception as error:
                raise DataError(f"{where} cannot be read ({error}); get the set again") from error
            if value is None:
                raise DataError(f"{where} is empty, and a sample without its input is none; leave it out of the set")
            yield where, value


def _texts(rows: _Rows, length: int) -> Tensor:
    """Return the bytes of each text and 1, int64 ``[N, length]``; 0 after its end."""
    symbols = torch.zeros(len(rows), length, dtype=torch.int64)
    for symbol, (_, text) in zip(symbols, rows, strict=True):
        packed = np.frombuffer(text.encode()[:length], np.uint8)
        symbol[: len(packed)] = torch.from_numpy(packed.astype(np.int64) + 1)
    return symbols


def _images(rows: _Rows, size: int | None, background: Background | None) -> Tensor:
    arrays = [to_array(image, where, size, background) for where, image in rows]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise DataError(f"{rows.where} has images of {len(shapes)} sizes; bring them to one by the option 'size'")
    return torch.from_numpy(np.stack(arrays))
