"""MNIST and Fashion-MNIST: 28x28 gray images in IDX files."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sharpscope.data.augmentations.geometric import random_flip, random_rotation, random_shift
from sharpscope.data.dataset import Augmentation, Dataset, DataSource
from sharpscope.data.files import idx
from sharpscope.data.files.download import RemoteFile, locate, verify
from sharpscope.data.registry import DatasetFacts
from sharpscope.data.sets.splits import register
from sharpscope.data.subsets.parts import Sizes
from sharpscope.errors import DataError


@dataclass(frozen=True)
class IdxArchive:
    """A dataset published as four IDX files, and what it declares of itself.

    Attributes:
        name: The dataset's name.
        folders: Below the data directory, where its files may lie; ``""`` is the directory itself.
        mirrors: Addresses that hold the files, the official one first.
        train: Images and labels to train on.
        test: Images and labels to test on.
        classes: Names of the classes.
        mean: Of the training images, in [0, 1].
        std: Likewise.
        augment: The augmentation that suits it.
    """

    name: str
    folders: tuple[str, ...]
    mirrors: tuple[str, ...]
    train: tuple[RemoteFile, RemoteFile]
    test: tuple[RemoteFile, RemoteFile]
    classes: tuple[str, ...]
    mean: float
    std: float
    augment: Augmentation

    def load(self, source: DataSource, sizes: Sizes) -> Dataset:
        """Return the dataset, or stratified and nested subsets of its two splits.

        Raises:
            DataError: If a file is missing, damaged or another than the published one, or a size is out of
                range.
        """
        train_inputs, train_targets = self._read(self.train, source)
        test_inputs, test_targets = self._read(self.test, source)
        parts = sizes.parts(self.name, train_targets, test_targets)
        return Dataset(
            name=self.name,
            train_inputs=train_inputs[parts.train],
            train_targets=train_targets[parts.train],
            test_inputs=test_inputs[parts.test],
            test_targets=test_targets[parts.test],
            classes=self.classes,
            mean=(self.mean,),
            std=(self.std,),
            augment=self.augment,
            calibration=parts.to_calibrate(lambda chosen: train_inputs[chosen], train_targets),
        )

    def _read(self, files: tuple[RemoteFile, RemoteFile], source: DataSource) -> tuple[Tensor, Tensor]:
        """Return images, uint8 ``[N, 1, H, W]``, and labels, int64 ``[N]``."""
        arrays = []
        for file, dimensions in zip(files, (3, 1), strict=True):
            path = locate(file, source, self.folders, self.mirrors)
            packed = path.read_bytes()
            contents = idx.unpack(packed, path)
            # What is wrong inside says more than that the checksum differs, so the contents are read first.
            arrays.append(torch.from_numpy(idx.parse(contents, dimensions, path).copy()))
            verify(file, path, packed, contents)
        images, labels = arrays
        if len(images) != len(labels):
            raise DataError(
                f"{files[0].name} holds {len(images)} images but {files[1].name} holds {len(labels)} labels; "
                "get both from one place"
            )
        return images.unsqueeze(1), labels.to(torch.int64)


def augment_digits(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by at most two pixels and rotate by at most 10 degrees; a mirrored digit is no digit."""
    return random_rotation(images, generator, degrees=10.0, shift=2)


def augment_fashion(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by at most two pixels and mirror half of the images."""
    return random_flip(random_shift(images, generator, pixels=2), generator)


MNIST = IdxArchive(
    name="mnist",
    folders=("mnist", "", "MNIST/raw"),
    mirrors=(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    train=(
        RemoteFile(
            "train-images-idx3-ubyte.gz",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        RemoteFile(
            "train-labels-idx1-ubyte.gz",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
    ),
    test=(
        RemoteFile(
            "t10k-images-idx3-ubyte.gz",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        RemoteFile(
            "t10k-labels-idx1-ubyte.gz",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    classes=tuple("0123456789"),
    mean=0.1307,
    std=0.3081,
    augment=augment_digits,
)

FASHION_MNIST = IdxArchive(
    name="fashion_mnist",
    folders=("fashion_mnist", "", "FashionMNIST/raw"),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    train=(
        RemoteFile("train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        RemoteFile("train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    ),
    test=(
        RemoteFile("t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        RemoteFile("t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    classes=(
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    mean=0.2860,
    std=0.3530,
    augment=augment_fashion,
)


register(
    MNIST,
    DatasetFacts((1, 28, 28), 10, 60_000, 10_000, augment_digits),
    """Handwritten digits, 28x28 gray, 10 classes: 60,000 to train, 10,000 to test.

    The four gzip files lie in the data directory, in its folder ``mnist`` or in ``MNIST/raw``.
    """,
    reference='LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 1998.',
)

register(
    FASHION_MNIST,
    DatasetFacts((1, 28, 28), 10, 60_000, 10_000, augment_fashion),
    """Articles of clothing, 28x28 gray, 10 classes: 60,000 to train, 10,000 to test.

    The four gzip files lie in the data directory, in its folder ``fashion_mnist`` or in ``FashionMNIST/raw``.
    """,
    reference='Xiao et al., "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", arXiv '
    "1708.07747.",
)
