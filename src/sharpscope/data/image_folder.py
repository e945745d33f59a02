"""Image files in folders named by their classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from sharpscope.data.augmentations import random_flip, random_shift
from sharpscope.data.dataset import Augmentation, Dataset, Source
from sharpscope.data.images import decode
from sharpscope.data.registry import DATASETS
from sharpscope.data.selection import subsets
from sharpscope.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"})


@DATASETS.register()
def image_folder(
    source: Source,
    *,
    folder: str,
    size: PositiveInt = 64,
    train: str = "train",
    test: str = "test",
    train_size: int | None = None,
    test_size: int | None = None,
    subset_seed: int = 0,
) -> Dataset:
    """Image files of your own, in the folders FOLDER/train/CLASS and FOLDER/test/CLASS.

    All images are held in memory as bytes. Their augmentation is a crop after padding with an eighth of the side, and
    mirroring. Reading them needs the extra ``images``.

    Args:
        source: Its data directory has the folder.
        folder: Path below the data directory.
        size: Side of the images: each is cut to its middle square and resized.
        train: Name of the folder to train on.
        test: Name of the folder to test on; it has no class that the other has not.
        train_size: Size of a stratified training subset; None for all. Sizes are nested.
        test_size: Size of a stratified test subset, the same for every seed; None for all.
        subset_seed: Which training subset of that size.

    Returns:
        Images as uint8 ``[N, 3, size, size]``; classes in the order of their folders' names.

    Raises:
        DataError: If a folder is missing, empty or outside the data directory, an image cannot be read, a size is out
            of range, or Pillow is not installed.
    """
    root = below(source, folder)
    classes = tuple(sorted(path.name for path in _folder(root / train).iterdir() if path.is_dir()))
    train_files, test_files = _files(root / train, classes), _files(root / test, classes)
    chosen = subsets(
        "image_folder",
        torch.tensor([label for label, _ in train_files]),
        torch.tensor([label for label, _ in test_files]),
        train_size,
        test_size,
        subset_seed,
    )
    train_inputs, train_targets = _split(train_files, chosen[0], size)
    test_inputs, test_targets = _split(test_files, chosen[1], size)
    return Dataset(
        name="image_folder",
        train_inputs=train_inputs,
        train_targets=train_targets,
        test_inputs=test_inputs,
        test_targets=test_targets,
        classes=classes,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        augment=crop_and_flip(max(1, size // 8)),
    )


def below(source: Source, path: str) -> Path:
    """Return a path below the data directory.

    Raises:
        DataError: If it leads out of it.
    """
    home = source.home.resolve()
    found = (home / path).resolve()
    if not found.is_relative_to(home):
        raise DataError(f"'{path}' leads out of the data directory {home}; name a path below it")
    return found


def crop_and_flip(pixels: int) -> Augmentation:
    """Return an augmentation that crops after padding with so many gray pixels, and mirrors half of the images."""

    def augment(images: Tensor, generator: torch.Generator) -> Tensor:
        return random_flip(random_shift(images, generator, pixels=pixels, fill=128.0), generator)

    return augment


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise DataError(f"dataset 'image_folder' needs the folder {path}, with a folder of images for each class")
    return path


def _files(split: Path, classes: tuple[str, ...]) -> list[tuple[int, Path]]:
    """Return class and path of each image, in the order of their names."""
    found = []
    for folder in sorted(path for path in _folder(split).iterdir() if path.is_dir()):
        if folder.name not in classes:
            raise DataError(f"{folder} is of a class that the training folder has not; its classes are {classes}")
        label = classes.index(folder.name)
        found += [(label, path) for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
    if not found:
        raise DataError(f"{split} holds no images; put them in a folder for each class")
    return found


def _split(files: list[tuple[int, Path]], chosen: Tensor, size: int) -> tuple[Tensor, Tensor]:
    picked = [files[index] for index in chosen.tolist()]
    images = np.stack([decode(path.read_bytes(), str(path), size) for _, path in picked])
    return torch.from_numpy(images), torch.tensor([label for label, _ in picked])
