from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.data.archives import npy, published, tar

from sharpscope.data import DATASETS, DataSource, altered_cases, conditions_of
from sharpscope.data.sets.cifar import CIFAR10, CIFAR100
from sharpscope.data.subsets.parts import Sizes
from sharpscope.errors import DataError, UnknownName

COUNT = 20
CLASSES = 10


def rows(seed, labels):
    """Return rows of bytes as in a CIFAR file, their images and their classes."""
    images = np.random.default_rng(seed).integers(0, 256, (COUNT, 3, 32, 32), dtype=np.uint8)
    classes = (np.arange(COUNT, dtype=np.uint8) + seed) % CLASSES
    # The coarse label, where there is one, comes first and is another number.
    columns = [classes // 2, classes][-labels:]
    return np.column_stack([*columns, images.reshape(COUNT, -1)]).tobytes(), images, classes


class Made:
    """A CIFAR dataset like the published one, of 20 images in each file."""

    def __init__(self, original, folder):
        self.folder = folder
        self.path = folder / original.archive.name
        files = [*original.train, *original.test]
        made = [rows(seed, original.labels) for seed in range(len(files))]
        self.images = [images for _, images, _ in made]
        self.classes = [classes for _, _, classes in made]
        names = "\n".join(f"class{i}" for i in range(CLASSES)).encode() + b"\n\n"
        self.files = {
            f"{original.folder}/{file.name}": content for file, (content, _, _) in zip(files, made, strict=True)
        }
        self.files[f"{original.folder}/{original.class_names}"] = names
        new = tuple(published(file.name, content) for file, (content, _, _) in zip(files, made, strict=True))
        self.archive = replace(original, train=new[:-1], test=new[-1:])
        self.write()

    def write(self, **changes):
        changes = {f"{self.archive.folder}/{name}": content for name, content in changes.items()}
        tar(self.path, {**self.files, **changes})

    def load(self, train_size=None, test_size=None, subset_seed=0):
        sizes = Sizes(train_size, test_size, subset_seed)
        return self.archive.load(DataSource(self.folder, download=False), sizes)


@pytest.fixture(params=[CIFAR10, CIFAR100], ids=["cifar10", "cifar100"])
def made(request, tmp_path):
    return Made(request.param, tmp_path)


@pytest.fixture
def made10(tmp_path):
    return Made(CIFAR10, tmp_path)


def test_images_come_back_with_their_fine_classes(made):
    data = made.load()
    assert (data.train_inputs.numpy() == np.concatenate(made.images[:-1])).all()
    assert (data.train_targets.numpy() == np.concatenate(made.classes[:-1])).all()
    assert (data.test_inputs.numpy() == made.images[-1]).all()
    assert (data.test_targets.numpy() == made.classes[-1]).all()
    assert data.classes == tuple(f"class{i}" for i in range(CLASSES))


def test_subsets_are_stratified_and_nested(made):
    small, large = made.load(10, 10), made.load(15)
    assert small.train_targets.tolist() != large.train_targets.tolist()
    assert sorted(small.train_targets.tolist()) == list(range(CLASSES))
    assert len(small.test_inputs) == 10
    kept = {tuple(row) for row in large.train_inputs.flatten(1).tolist()}
    assert {tuple(row) for row in small.train_inputs.flatten(1).tolist()} <= kept


def test_an_unpacked_folder_serves_as_well(made):
    for name, content in made.files.items():
        path = made.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    made.path.unlink()
    assert len(made.load().train_inputs) == COUNT * (len(made.files) - 2)
    path.unlink()
    with pytest.raises(DataError, match=f"should hold {path.name} and does not; unpack it again"):
        made.load()


def test_augmentation_pads_with_gray(made10):
    data = made10.load()
    black = torch.zeros(64, 3, 32, 32, dtype=torch.uint8)
    augmented = data.augment(black, torch.Generator().manual_seed(0))
    assert set(augmented.unique().tolist()) == {0, 128}


def test_a_missing_archive_is_named_with_its_address(made10):
    made10.path.unlink()
    with pytest.raises(DataError, match=r"cifar-10-binary.tar.gz is in none of .*https://www.cs.toronto.edu/~kriz/"):
        made10.load()


def test_an_archive_that_is_cut_off_is_refused(made10):
    made10.path.write_bytes(made10.path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"cifar-10-binary.tar.gz cannot be read, it is cut off or damaged"):
        made10.load()


def test_what_is_no_archive_is_refused(made10):
    made10.path.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="cannot be read"):
        made10.load()


def test_a_missing_member_is_named(made10):
    del made10.files["cifar-10-batches-bin/data_batch_3.bin"]
    made10.write()
    with pytest.raises(DataError, match=r"should hold cifar-10-batches-bin/data_batch_3.bin and does not"):
        made10.load()


def test_a_changed_member_is_refused(made10):
    content = bytearray(made10.files["cifar-10-batches-bin/test_batch.bin"])
    content[7] ^= 1
    made10.write(**{"test_batch.bin": bytes(content)})
    with pytest.raises(DataError, match=r"test_batch.bin of cifar10 is not the file that was published: SHA-256"):
        made10.load()


def test_a_member_of_broken_rows_is_refused(made10):
    made10.write(**{"test_batch.bin": made10.files["cifar-10-batches-bin/test_batch.bin"][:-5]})
    with pytest.raises(DataError, match="should be rows of 3073 bytes, got 61455 bytes, so it is cut off"):
        made10.load()


@pytest.mark.parametrize("name", ["../outside.bin", "/outside.bin", "a/../../outside.bin", "C:\\outside.bin"])
def test_an_archive_with_a_path_that_leaves_its_folder_is_refused(made10, name):
    tar(made10.path, {name: b"", **made10.files})
    with pytest.raises(DataError, match="a path that leaves its folder; do not use this archive"):
        made10.load()


# The corruptions of the test split, of which these archives hold two.
KINDS = ("fog", "snow")


class Corrupted:
    """A suite of two corruptions for the test split of ``made``."""

    def __init__(self, made):
        self.made = made
        self.path = made.folder / "CIFAR-10-C.tar"
        rng = np.random.default_rng(1)
        self.arrays = {kind: rng.integers(0, 256, (5 * COUNT, 32, 32, 3), dtype=np.uint8) for kind in KINDS}
        self.arrays["labels"] = np.tile(made.classes[-1], 5)
        self.write()

    def write(self, **changes):
        files = {f"CIFAR-10-C/{name}.npy": npy(array) for name, array in self.arrays.items()}
        changes = {f"CIFAR-10-C/{name}.npy": content for name, content in changes.items()}
        tar(self.path, {k: v for k, v in {**files, **changes}.items() if v is not None}, "w")

    def data(self, test_size=None):
        data = self.made.load(test_size=test_size)
        file = published("CIFAR-10-C.tar", self.path.read_bytes() if self.path.exists() else b"")
        return replace(data, corrupted=replace(data.corrupted, file=file, corruptions=KINDS))


@pytest.fixture
def corrupted(made10):
    return Corrupted(made10)


@pytest.mark.parametrize("unpacked", [False, True])
def test_published_corruptions_are_read_in_the_order_of_the_test_set(corrupted, unpacked):
    if unpacked:
        tar_members = {f"CIFAR-10-C/{name}.npy": npy(array) for name, array in corrupted.arrays.items()}
        for name, content in tar_members.items():
            path = corrupted.made.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        corrupted.path.unlink()
    data = corrupted.data(test_size=10)
    whole = corrupted.made.load()
    data.corrupted.prepare()
    chosen = [whole.test_inputs.flatten(1).tolist().index(row) for row in data.test_inputs.flatten(1).tolist()]
    own = [name for name, condition in conditions_of(data).items() if condition.facts.kind == "inputs"]
    sets = {str(case): altered.inputs for case, altered in altered_cases(data, own)}
    assert list(sets) == [f"CIFAR-10-C/{kind}-{severity}" for kind in KINDS for severity in range(1, 6)]
    for kind in KINDS:
        for severity in range(1, 6):
            expected = corrupted.arrays[kind][(severity - 1) * COUNT :][chosen].transpose(0, 3, 1, 2)
            found = sets[f"CIFAR-10-C/{kind}-{severity}"]
            assert found.dtype == torch.uint8
            assert (found.numpy() == expected).all()


def test_the_published_suite_takes_the_place_of_generated_corruptions(corrupted):
    data = corrupted.data()
    found = conditions_of(data)
    of_inputs = {name: c.version for name, c in found.items() if c.facts.kind == "inputs"}
    assert of_inputs == {"CIFAR-10-C/fog": 1, "CIFAR-10-C/snow": 1}
    first = found["CIFAR-10-C/fog"].cases[0]
    assert (str(first), first.kind, first.family) == ("CIFAR-10-C/fog-1", "inputs", "weather")
    assert "gaussian_noise" in conditions_of(replace(data, corrupted=None))
    with pytest.raises(UnknownName, match="unknown condition 'pixelate' of dataset 'cifar10'"):
        list(altered_cases(data, ["pixelate"]))


def test_all_published_corruptions_are_known(made10):
    assert len(made10.load().corrupted.corruptions) == 19


class Evil:
    """Unpickling this would be told."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


FOG = np.zeros((5 * COUNT, 32, 32, 3), np.uint8)
BROKEN = {
    "missing": ({"fog": None}, "should hold fog.npy and does not"),
    "cut off": ({"fog": npy(FOG)[:-9]}, r"should hold 307200 bytes of shape \(100, 32, 32, 3\), got 307191"),
    "no array": ({"fog": b"<html>"}, "fog.npy in .* is not a NumPy file or is damaged"),
    "objects": ({"fog": npy(np.array([Evil()]), allow_pickle=True)}, "holds Python objects, which are never read"),
    "another count": ({"fog": npy(FOG[:-5])}, "should hold 100 images in bytes, 5 severities of 20 test images"),
    "another type": ({"fog": npy(FOG.astype(np.float32))}, "should hold 100 images in bytes"),
    "other labels": ({"labels": npy(np.zeros(5 * COUNT, np.int64))}, "at severity 1 are not those of the test split"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_a_damaged_suite_is_told_by_what_is_wrong(corrupted, change, message):
    corrupted.write(**change)
    with pytest.raises(DataError, match=message):
        corrupted.data().corrupted.prepare()


def test_a_suite_of_another_checksum_is_refused(corrupted):
    suite = replace(corrupted.data().corrupted, file=CIFAR10.corrupted[1])
    with pytest.raises(DataError, match=r"CIFAR-10-C.tar is not the file that was published: SHA-256"):
        suite.prepare()


def test_a_missing_suite_is_named_with_its_address(corrupted):
    corrupted.path.unlink()
    with pytest.raises(DataError, match=r"CIFAR-10-C.tar is in none of .*https://zenodo.org/records/2535967/files/"):
        corrupted.data().corrupted.prepare()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_registered_by_name(name, tmp_path):
    with pytest.raises(DataError, match=r"-binary.tar.gz is in none of"):
        DATASETS[name](DataSource(tmp_path, download=False))
