"""Tiny ImageNet: 64x64 color images of 200 classes, decoded once, and their published corruptions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from sharpscope.benchmark import BENCHMARK
from sharpscope.condition import SEVERITIES
from sharpscope.data.augmentations.geometric import random_flip, random_resized_crop
from sharpscope.data.dataset import Dataset, DataSource
from sharpscope.data.files.archives import Member, Zip, open_tar
from sharpscope.data.files.arrays import filling, mapped
from sharpscope.data.files.download import RemoteFile, locate, verify_file
from sharpscope.data.files.images import decode
from sharpscope.data.registry import DatasetFacts
from sharpscope.data.sets.splits import register
from sharpscope.data.subsets.parts import Sizes
from sharpscope.errors import DataError

ROOT = "tiny-imagenet-200"
SIDE = 64


@dataclass(frozen=True)
class TinyImageNet:
    """The dataset as published.

    Attributes:
        name: The dataset's name.
        archive: The zip file.
        mirrors: Addresses that hold it, the official one first.
        suite: The tar file of its corruptions.
        suite_mirrors: Likewise.
    """

    name: str
    archive: RemoteFile
    mirrors: tuple[str, ...]
    suite: RemoteFile
    suite_mirrors: tuple[str, ...]

    def load(self, source: DataSource, sizes: Sizes) -> Dataset:
        """Return the dataset, or stratified and nested subsets of its two splits.

        Raises:
            DataError: If the archive is missing, damaged or another than the published one, or a size is out of range.
        """
        path = locate(self.archive, source, (self.name, ""), self.mirrors)
        # The list of the archive tells what is in it; only decoding it takes long, and the published one is
        # decoded once.
        with Zip(path) as archive:
            wnids = archive.read(f"{ROOT}/wnids.txt").decode().split()
            words = dict(line.split("\t", 1) for line in archive.read(f"{ROOT}/words.txt").decode().splitlines())
            splits = {"train": _train_files(archive, wnids), "val": _test_files(archive, wnids)}
            decoded = path.with_name(f"{ROOT}-decoded")
            targets = {split: torch.tensor([label for label, _ in files]) for split, files in splits.items()}
            arrays = {s: self._images(archive, decoded / f"{s}.npy", [n for _, n in f]) for s, f in splits.items()}
        parts = sizes.parts(self.name, targets["train"], targets["val"])
        classes = tuple(words.get(wnid, wnid).split(",")[0] for wnid in sorted(wnids))
        return Dataset(
            name=self.name,
            train_inputs=_taken(arrays["train"], parts.train),
            train_targets=targets["train"][parts.train],
            test_inputs=_taken(arrays["val"], parts.test),
            test_targets=targets["val"][parts.test],
            classes=classes,
            mean=(0.4802, 0.4481, 0.3975),
            std=(0.2770, 0.2691, 0.2821),
            augment=augment,
            corrupted=JpegSuite(
                self.suite, self.suite_mirrors, source, tuple(sorted(wnids)), targets["val"], chosen=parts.test
            ),
            calibration=parts.to_calibrate(lambda chosen: _taken(arrays["train"], chosen), targets["train"]),
        )

    def _images(self, archive: Zip, cache: Path, names: list[str]) -> np.ndarray:
        """Return images as uint8 ``[N, 3, 64, 64]``, from the cache where they are."""
        shape = (len(names), 3, SIDE, SIDE)
        if not cache.is_file():
            verify_file(self.archive, archive.path)
            with filling(cache, shape) as images:
                for position, name in enumerate(names):
                    images[position] = _decoded(archive.read(name), name)
        return _cached(cache, shape)


@dataclass(frozen=True, eq=False)
class JpegSuite:
    """Tiny ImageNet-C: JPEG files in folders of corruption, severity and class; decoded once, all together.

    Attributes:
        file: The tar file.
        mirrors: Addresses that hold it, the official one first.
        source: Where it may come from.
        wnids: The names of the folders of the classes, in the order of their indices.
        targets: Class indices of the whole test split, in ascending order, int64 ``[N]``.
        chosen: Which test samples the dataset holds.
        corruptions: Those that it holds.
        name: What it is called.
        version: Of how it is read.
    """

    file: RemoteFile
    mirrors: tuple[str, ...]
    source: DataSource
    wnids: tuple[str, ...] = field(repr=False)
    targets: Tensor = field(repr=False)
    chosen: Tensor = field(repr=False)
    corruptions: tuple[str, ...] = BENCHMARK
    name: str = "Tiny-ImageNet-C"
    version: int = 1

    def prepare(self) -> None:
        """See that every image is decoded; the first time takes minutes and 120 MB for each corruption and severity.

        Raises:
            DataError: If the tar file is missing or damaged, or lacks an image.
        """
        cases = [(corruption, severity) for corruption in self.corruptions for severity in SEVERITIES]
        missing = [case for case in cases if not self._cache(*case).is_file()]
        if not missing:
            return
        tar = locate(self.file, self.source, ("", self.name), self.mirrors)
        verify_file(self.file, tar)
        files = self._files(tar)
        with tar.open("rb") as opened:
            for case in missing:
                # Images of a class are in the order of their numbers, as those of the test split are.
                found = sorted(files.get(case, []))
                labels = [label for label, *_ in found]
                if labels != self.targets.tolist():
                    raise DataError(
                        f"{tar} holds {len(found)} images of '{case[0]}' at severity {case[1]} that are not "
                        f"the {len(self.targets)} of the test split class by class; get it again"
                    )
                with filling(self._cache(*case), (len(found), 3, SIDE, SIDE)) as images:
                    for position, (_, number, offset, size) in enumerate(found):
                        opened.seek(offset)
                        images[position] = _decoded(opened.read(size), f"image {number} of {case}")

    def images(self, corruption: str, severity: int) -> Tensor:
        """Return the chosen test images under one corruption at one severity, uint8 ``[N, 3, 64, 64]``.

        Raises:
            DataError: If a file is missing or damaged.
        """
        cache = self._cache(corruption, severity)
        if not cache.is_file():
            self.prepare()
        return _taken(_cached(cache, (len(self.targets), 3, SIDE, SIDE)), self.chosen)

    def _cache(self, corruption: str, severity: int) -> Path:
        return self.source.home / self.name / "decoded" / f"{corruption}-{severity}.npy"

    def _files(self, tar: Path) -> dict[tuple[str, int], list[tuple[int, int, int, int]]]:
        """Return class, number, first byte and size of each image, by corruption and severity."""
        files: dict[tuple[str, int], list[tuple[int, int, int, int]]] = {}
        labels = {wnid: label for label, wnid in enumerate(self.wnids)}
        with open_tar(tar) as members:
            for member in members:
                corruption, severity, wnid = _place(member)
                if wnid in labels:
                    place = (labels[wnid], _number(member.name), member.offset, member.size)
                    files.setdefault((corruption, severity), []).append(place)
        return files


def _place(member: Member) -> tuple[str, int, str]:
    """Return corruption, severity and class of ``Tiny-ImageNet-C/fog/3/n01443537/val_1.JPEG``; else empty ones."""
    parts = PurePosixPath(member.name).parts
    if len(parts) != 5 or not parts[2].isdecimal():
        return "", 0, ""
    return parts[1], int(parts[2]), parts[3]


def _train_files(archive: Zip, wnids: Iterable[str]) -> list[tuple[int, str]]:
    """Return class and name of each training image, class by class and in the order of their numbers."""
    labels = {wnid: label for label, wnid in enumerate(sorted(wnids))}
    found = []
    for name in archive.names:
        parts = PurePosixPath(name).parts
        if len(parts) == 5 and parts[1] == "train" and parts[3] == "images" and parts[2] in labels:
            found.append((labels[parts[2]], _number(name), name))
    if not found:
        raise DataError(f"{archive.path} should hold images in {ROOT}/train and does not; get it again")
    return [(label, name) for label, _, name in sorted(found)]


def _test_files(archive: Zip, wnids: Iterable[str]) -> list[tuple[int, str]]:
    """Return class and name of each image of the published validation split, likewise."""
    labels = {wnid: label for label, wnid in enumerate(sorted(wnids))}
    found = []
    for line in archive.read(f"{ROOT}/val/val_annotations.txt").decode().splitlines():
        image, wnid = line.split("\t")[:2]
        if wnid not in labels:
            raise DataError(f"{archive.path} has an image of class '{wnid}', which wnids.txt does not; get it again")
        found.append((labels[wnid], _number(image), f"{ROOT}/val/images/{image}"))
    return [(label, name) for label, _, name in sorted(found)]


def _number(name: str) -> int:
    """Return the last number in a file's name, by which images of one class are ordered."""
    numbers = re.findall(r"\d+", PurePosixPath(name).stem)
    return int(numbers[-1]) if numbers else 0


def _decoded(packed: bytes, name: str) -> np.ndarray:
    image = decode(packed, name)
    if image.shape != (3, SIDE, SIDE):
        raise DataError(f"{name} should be {SIDE}x{SIDE} pixels, got {image.shape[2]}x{image.shape[1]}; get it again")
    return image


def _cached(cache: Path, shape: tuple[int, ...]) -> np.ndarray:
    array = mapped(cache, 0, cache.stat().st_size, cache.name)
    if array.shape != shape or array.dtype != np.uint8:
        raise DataError(f"{cache} is not of the shape {shape} that the archive asks for; remove it")
    return array


def _taken(array: np.ndarray, chosen: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array[chosen.numpy()]))


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crop an area of random size and aspect and resize it to the whole, and mirror half of the images."""
    return random_flip(random_resized_crop(images, generator), generator)


TINY_IMAGENET = TinyImageNet(
    name="tiny_imagenet",
    archive=RemoteFile("tiny-imagenet-200.zip", "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821"),
    mirrors=("http://cs231n.stanford.edu/", "https://zenodo.org/records/10720917/files/"),
    suite=RemoteFile("Tiny-ImageNet-C.tar", md5="f9c9a9dbdc11469f0b850190f7ad8be1"),
    suite_mirrors=("https://zenodo.org/records/2536630/files/", "https://zenodo.org/records/8206060/files/"),
)


register(
    TINY_IMAGENET,
    DatasetFacts((3, SIDE, SIDE), 200, 100_000, 10_000, augment, (JpegSuite.name, JpegSuite.corruptions)),
    """Photographs of things and animals, 64x64 color, 200 classes: 100,000 to train, 10,000 to test.

    ``tiny-imagenet-200.zip`` lies in the data directory or in its folder ``tiny_imagenet``. The test split is the
    published validation split, class by class: the published test split has no labels. Images are decoded once, into a
    folder beside the archive (1.4 GB). Its corrupted test sets are those of Tiny ImageNet-C, the 15
    corruptions of its benchmark, decoded
    once where a score needs them (9 GB). Decoding needs the extra ``images``.
    """,
    reference='Le & Yang, "Tiny ImageNet Visual Recognition Challenge", CS 231N 2015.',
)
