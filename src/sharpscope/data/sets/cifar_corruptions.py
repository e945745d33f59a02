"""The corruptions of CIFAR as their authors published them: one array a corruption, all severities in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sharpscope.benchmark import BENCHMARK, EXTRA
from sharpscope.condition import SEVERITIES
from sharpscope.data.dataset import DataSource
from sharpscope.data.files.archives import open_tar
from sharpscope.data.files.arrays import mapped
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
