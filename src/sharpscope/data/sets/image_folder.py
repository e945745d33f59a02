"""Image files in folders named by their classes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from sharpscope.data.augmentations.geometric import random_flip, random_shift
from sharpscope.data.dataset import Augmentation, Dataset, DataSource
from sharpscope.data.files.images import Background, decode
from sharpscope.data.registry import DATASETS
from sharpscope.data.subsets.parts import Sizes
from sharpscope.errors import DataError

# fmt: off
SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".bmp", ".gif", ".webp", ".avif", ".tif", ".tiff", ".tga",
    ".ppm", ".pgm", ".pbm", ".pnm",
})
# What lies beside images and is none. Anything else might be an image that would be missed without a word.
NO_IMAGES = frozenset({
    ".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".html", ".log", ".ini",
    ".db", ".url", ".lnk", ".py", ".sh",
})
# Made by systems and programs, which hide it from their users; so are all names that begin with a dot.
HIDDEN = frozenset({
    "__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "Icon\r",
})
# fmt: on


@DATASETS.register()
def image_folder(
    source: DataSource,
    *,
    folder: str,
    size: PositiveInt = 64,
    train: str = "train",
    test: str = "test",
    background: Background | None = None,
    train_size: int | None = None,
    test_size: int | None = None,
    subset_seed: int = 0,
    calibration_size: int | None = 0,
) -> Dataset:
    """Image files of your own, in the folders FOLDER/train/CLASS and FOLDER/test/CLASS.

    All images are held in memory as bytes, in color: gray of 16 bits is brought to 8 by the range of 16 bits, images
    are turned as their EXIF data say, and color profiles are not looked at. What is no image of one known color a pixel
    is refused with its name: floating-point values, animations, and transparent places without a ``background``. Hidden
    files and folders are left alone, among them ``.ipynb_checkpoints``, ``__MACOSX`` and ``._x.png``; so are texts and
    tables. Their augmentation is a crop after padding with an eighth of the side, and mirroring. Reading them needs the
    extra ``images``.

    Args:
        source: Its data directory has the folder.
        folder: Path below the data directory.
        size: Side of the images: each is cut to its middle square and resized.
        train: Name of the folder to train on.
        test: Name of the folder to test on; it has no class that the other has not.
        background: The color behind transparent places, ``white`` or ``black``; images with such are refused when None.
        train_size: Size of a stratified training subset; None for all. Sizes are nested.
        test_size: Size of a stratified test subset, the same for every seed; None for all.
        subset_seed: Which training subset of that size.
        calibration_size: Images to calibrate on, which are not trained on and are read as well. None for some that
            ``train_size`` leaves over. A number is taken off the training set where ``train_size`` is None.

    Returns:
        Images as uint8 ``[N, 3, size, size]``; classes in the order of their folders' names.

    Raises:
        DataError: If a folder is missing, empty or outside the data directory, it is not clear what a file or folder
            is, an image cannot be read, a size is out of range, or Pillow is not installed.
    """
    folders = [below(source, f"{folder}/{name}") for name in (train, test)]
    if folders[0] == folders[1]:
        raise DataError(
            f"'{folder}/{train}' would be both trained and tested on, which tells nothing of new images; name two"
        )
    splits = [_images_by_class(path) for path in folders]
    classes = tuple(splits[0])
    if len(classes) == 1:
        raise DataError(
            f"'{folder}/{train}' holds one class, '{classes[0]}', and so nothing to tell apart; name the folder "
            "that has the folders of the classes"
        )
    for name, paths in splits[1].items():
        if name not in classes:
            raise DataError(
                f"{paths[0].parent} is of a class that the training folder has not; its classes are {classes}"
            )
    files = [[(classes.index(name), path) for name, paths in split.items() for path in paths] for split in splits]
    targets = [torch.tensor([label for label, _ in labeled]) for labeled in files]
    sizes = Sizes(train_size, test_size, subset_seed, calibration_size)
    parts = sizes.parts("image_folder", *targets)
    return Dataset(
        name="image_folder",
        train_inputs=_decoded(files[0], parts.train, size, background),
        train_targets=targets[0][parts.train],
        test_inputs=_decoded(files[1], parts.test, size, background),
        test_targets=targets[1][parts.test],
        classes=classes,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        augment=crop_and_flip(max(1, size // 8)),
        calibration=parts.to_calibrate(lambda chosen: _decoded(files[0], chosen, size, background), targets[0]),
    )


def below(source: DataSource, path: str) -> Path:
    """Return a path below the data directory.

    Raises:
        DataError: If it leads out of it.
    """
    home = source.home.resolve()
    found = (home / path).resolve()
    if not found.is_relative_to(home):
        raise DataError(f"'{path}' leads out of the data directory {home}; name a path below it")
    return found


def as_it_looks(name: str) -> str:
    """Return the name of a class in one form: a letter with an accent may be written as two characters elsewhere."""
    return unicodedata.normalize("NFC", name)


def refuse_alike(classes: Iterable[str], where: str) -> None:
    """See that no two classes are named alike.

    Raises:
        DataError: If two names differ in the case of their letters only.
    """
    seen: dict[str, str] = {}
    for name in sorted(classes):
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise DataError(
                f"{where} has two classes of one name but for its letters' case, '{other}' and '{name}'; make them "
                "one, or give them names that differ"
            )


def crop_and_flip(pixels: int) -> Augmentation:
    """Return an augmentation that crops after padding with so many gray pixels, and mirrors half of the images."""

    def augment(images: Tensor, generator: torch.Generator) -> Tensor:
        return random_flip(random_shift(images, generator, pixels=pixels, fill=128.0), generator)

    return augment


def _images_by_class(split: Path) -> dict[str, list[Path]]:
    """Return the images of each class, in the order of names."""
    if not split.is_dir():
        raise DataError(f"dataset 'image_folder' needs the folder {split}, with a folder of images for each class")
    found: dict[str, list[Path]] = {}
    for path in sorted(path for path in split.iterdir() if not _is_hidden(path.name)):
        if path.is_dir():
            name = as_it_looks(path.name)
            if name in found:
                raise DataError(f"{path} looks like the name of another class; make them one")
            found[name] = _images(path)
        elif path.suffix.lower() in SUFFIXES:
            raise DataError(f"{path} is an image outside of the folders of classes; move it into one, or away")
    if not found:
        raise DataError(f"{split} holds no images; put them in a folder for each class")
    refuse_alike(found, str(split))
    return dict(sorted(found.items()))


def _images(folder: Path) -> list[Path]:
    """Return the images of a class, also those in folders below its own, in the order of their paths."""
    found = []
    for path in sorted(folder.rglob("*")):
        if any(_is_hidden(part) for part in path.relative_to(folder).parts):
            continue
        if path.is_dir():
            if path.is_symlink():
                raise DataError(f"{path} is a link to a folder, which is not followed; put the folder itself there")
        elif path.suffix.lower() in SUFFIXES:
            found.append(path)
        elif path.suffix.lower() not in NO_IMAGES:
            raise DataError(
                f"{path} is no image of a kind that is read ({', '.join(sorted(SUFFIXES))}), and might be one of "
                "another; convert it, or move it away"
            )
    if not found:
        raise DataError(f"{folder} holds no images, so its class has none; remove it, or put them there")
    return found


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in HIDDEN


def _decoded(files: list[tuple[int, Path]], chosen: Tensor, size: int, background: Background | None) -> Tensor:
    images = []
    for _, path in (files[index] for index in chosen.tolist()):
        try:
            packed = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror or error}); see to it, or move it away") from None
        images.append(decode(packed, str(path), size, background))
    return torch.from_numpy(np.stack(images))
