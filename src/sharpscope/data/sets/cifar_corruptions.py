"""The corruptions of CIFAR as their authors published them: one array a corruption, all severities in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from sharpscope.benchmark import BENCHMARK, EXTRA
from sharpscope.condition import SEVERITIES
from sharpscope.data.dataset import DataSource
from sharpscope.data.files.archives import open_tar
from sharpscope.data.files.download import RemoteFile, locate, verify_file
from sharpscope.errors import DataError

LABELS = "labels"


@dataclass(frozen=True, eq=False)
class ArraySuite:
    """Corrupted images in NumPy files, whole in their tar file or unpacked; only what is asked for is read.

    Attributes:
        name: What it is called; the folder of its files has this name.
        file: The tar file, which is not compressed.
        mirrors: Addresses that hold it, the official one first.
        source: Where it may come from.
        targets: Class indices of the whole test split, int64 ``[N]``; the files must agree with them.
        chosen: Which test samples the dataset holds.
        corruptions: Those that it holds.
        version: Of how it is read.
    """

    name: str
    file: RemoteFile
    mirrors: tuple[str, ...]
    source: DataSource
    targets: Tensor = field(repr=False)
    chosen: Tensor = field(repr=False)
    corruptions: tuple[str, ...] = tuple(sorted((*BENCHMARK, *EXTRA)))
    version: int = 1

    def prepare(self) -> None:
        """See that every file is there, of the right shape, and in the order of the test split.

        Raises:
            DataError: If one is missing or damaged.
        """
        if self._folder is None:
            verify_file(self.file, self._tar)
        for corruption in self.corruptions:
            self._array(corruption)
        expected = self.targets.numpy()
        for severity, labels in enumerate(self._array(LABELS).reshape(len(SEVERITIES), -1), start=1):
            if not np.array_equal(labels, expected):
                raise DataError(
                    f"the labels of {self.name} at severity {severity} are not those of the test split; "
                    "get its files again"
                )

    def images(self, corruption: str, severity: int) -> Tensor:
        """Return the chosen test images under one corruption at one severity, uint8 ``[N, C, H, W]``.

        Raises:
            DataError: If a file is missing or damaged.
        """
        first = (severity - 1) * len(self.targets)
        images = self._array(corruption)[first : first + len(self.targets)][self.chosen.numpy()]
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    @cached_property
    def _folder(self) -> Path | None:
        """The folder of unpacked files, where there is one."""
        folder = self.source.home / self.name
        return folder if folder.is_dir() else None

    @cached_property
    def _tar(self) -> Path:
        return locate(self.file, self.source, ("", self.name), self.mirrors)

    @cached_property
    def _places(self) -> dict[str, tuple[Path, int, int]]:
        """Where each array is: its file, the first byte of it and how many there are."""
        if self._folder is not None:
            return {path.stem: (path, 0, path.stat().st_size) for path in self._folder.glob("*.npy")}
        with open_tar(self._tar) as members:
            return {
                Path(member.name).stem: (self._tar, member.offset, member.size)
                for member in members
                if member.name == f"{self.name}/{Path(member.name).stem}.npy"
            }

    def _array(self, name: str) -> np.ndarray:
        """Return an array that reads from its file what is looked at, and no more."""
        if name not in self._places:
            where = self._folder or self._tar
            raise DataError(f"{where} should hold {name}.npy and does not; get it again")
        path, offset, size = self._places[name]
        array = mapped(path, offset, size, f"{name}.npy")
        count = len(SEVERITIES) * len(self.targets)
        fits = array.dtype.kind in "iu" if name == LABELS else array.dtype == np.uint8 and array.ndim == 4
        if len(array) != count or not fits:
            what = "labels" if name == LABELS else "images in bytes"
            raise DataError(
                f"{name}.npy in {path} should hold {count} {what}, {len(SEVERITIES)} severities of "
                f"{len(self.targets)} test images, got {array.dtype} of shape {array.shape}; get it again"
            )
        return array


def mapped(path: Path, offset: int, size: int, name: str) -> np.ndarray:
    """Return an array of a NumPy file, or of one that lies within another file, as a read-only memory map.

    Args:
        path: The file.
        offset: The first byte of the array's file in it.
        size: How many bytes there are.
        name: What the array is called, for messages.

    Raises:
        DataError: If it is no NumPy file, holds Python objects, or is cut off.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            shape, fortran, dtype = _header(file)
            start = file.tell()
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{name} in {path} is not a NumPy file or is damaged ({error}); get it again") from None
    if dtype.hasobject:
        raise DataError(f"{name} in {path} holds Python objects, which are never read; get it again")
    there = min(offset + size, path.stat().st_size) - start
    needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if there != needed:
        raise DataError(f"{name} in {path} should hold {needed} bytes of shape {shape}, got {there}; get it again")
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"version {version} of its format is not known")
