import gzip
import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest

from sharpscope.data import DataSource
from sharpscope.data.files.download import RemoteFile
from sharpscope.data.sets.mnist import MNIST
from sharpscope.data.subsets.parts import Sizes
from sharpscope.errors import DataError

IMAGES = np.arange(20 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(20, 28, 28)
LABELS = np.arange(20, dtype=np.uint8) % 10


def idx_bytes(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def published(name, contents):
    packed = gzip.compress(contents, mtime=0)
    return RemoteFile(name, hashlib.sha256(packed).hexdigest(), hashlib.sha256(contents).hexdigest()), packed


@pytest.fixture
def archive(tmp_path):
    """A small archive like MNIST's in ``tmp_path/mnist``: 20 images to train on, the same to test."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    files = []
    for split in ("train", "t10k"):
        for kind, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS)):
            file, packed = published(f"{split}-{kind}-ubyte.gz", idx_bytes(array))
            (folder / file.name).write_bytes(packed)
            files.append(file)
    return replace(MNIST, train=tuple(files[:2]), test=tuple(files[2:]))


def load(archive, folder, **sizes):
    return archive.load(DataSource(folder, download=False), Sizes(**sizes))


def test_arrays_come_back_as_they_were(archive, tmp_path):
    data = load(archive, tmp_path)
    assert (data.train_inputs[:, 0].numpy() == IMAGES).all()
    assert (data.test_targets.numpy() == LABELS).all()
    assert len(load(archive, tmp_path, train_size=10).train_inputs) == 10


def test_the_folder_itself_may_be_named(archive, tmp_path):
    assert load(archive, tmp_path / "mnist").test_inputs.shape == (20, 1, 28, 28)


def test_a_copy_packed_anew_is_accepted(archive, tmp_path):
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(IMAGES), compresslevel=1, mtime=7))
    assert len(load(archive, tmp_path).train_inputs) == 20


def test_a_missing_file_is_named_with_the_places(archive, tmp_path):
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte.gz is in none of .*mnist, .*put the file of https"):
        load(archive, tmp_path)


IMAGE_BYTES = idx_bytes(IMAGES)
PACKED = gzip.compress(IMAGE_BYTES, mtime=0)
CHANGED = IMAGES.copy()
CHANGED[3, 4, 5] ^= 1
DAMAGE = {
    "not gzip": (b"<html>not found</html>", "should be a gzip file"),
    "cut off": (PACKED[:-100], "cut off or damaged"),
    "empty": (b"", "begins with 0x"),
    "a flipped byte": (PACKED[:-8] + bytes([PACKED[-8] ^ 1]) + PACKED[-7:], "damaged"),
    "labels instead of images": (gzip.compress(idx_bytes(LABELS)), r"0x00000803 .* begins with 0x00000801"),
    "short header": (gzip.compress(IMAGE_BYTES[:10]), "cut off within its header of 16 bytes"),
    "fewer bytes than announced": (gzip.compress(IMAGE_BYTES[:-5]), "should unpack to 15696 bytes .* got 15691"),
    "more bytes than announced": (gzip.compress(IMAGE_BYTES + b"x"), "should unpack to 15696 bytes .* got 15697"),
    "another image": (gzip.compress(idx_bytes(CHANGED)), "not the file that was published: expected SHA-256"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_told_by_what_is_wrong(archive, tmp_path, content, message):
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        load(archive, tmp_path)
    assert str(path) in str(error.value)


def test_images_and_labels_of_different_counts_are_refused(archive, tmp_path):
    file, packed = published("train-labels-idx1-ubyte.gz", idx_bytes(LABELS[:19]))
    (tmp_path / "mnist" / file.name).write_bytes(packed)
    with pytest.raises(DataError, match=r"holds 20 images but .* holds 19 labels"):
        load(replace(archive, train=(archive.train[0], file)), tmp_path)
