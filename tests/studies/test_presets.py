"""Every preset can be planned: its names are known, its options fit, its runs are distinct."""

import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import nn

from sharpscope.data import Dataset, DataSource
from sharpscope.data.sets.cifar import CifarArchive
from sharpscope.data.sets.mnist import IdxArchive
from sharpscope.data.sets.tiny_imagenet import TinyImageNet
from sharpscope.errors import DataError, SharpscopeError
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.source.presets import presets
from sharpscope.study.source.study import load_source

# How many runs each has.
RUNS = {
    "digits": 6 * 10,
    "mnist": 6 * 10,
    "paper/cifar10-resnet18": 240,
    "paper/cifar10-vgg19": 60,
    "paper/cifar10-vit": 60,
    "paper/cifar100-resnet18": 60,
    "paper/cifar100-vgg19": 60,
    "paper/cifar100-vit": 60,
    "paper/circles": 100 * 8,
    "paper/circles-equal-loss": 100 * 8,
    "paper/circles-random-labels": 11 * 100,
    "paper/circles-random-labels-equal-loss": 11 * 100,
    "paper/names-gpt2": 60,
    "paper/objectives": 7 * 10,
    "paper/random-labels": 11 * 10,
    "paper/sam-radius": 7 * 10,
    "paper/tinyimagenet-resnet18": 60,
    "paper/tinyimagenet-vgg19": 60,
}


class NoFiles:
    """A published suite of corruptions that is there as far as a plan asks."""

    name, version, corruptions = "suite", 1, ("fog",)

    def prepare(self):
        pass


def blank(name, shape, classes, corrupted=None):
    """Return a dataset of the shape of the real one, with an image of each class."""
    images = torch.zeros(classes, *shape, dtype=torch.uint8)
    targets = torch.arange(classes)
    mean = (0.5,) * shape[0]
    names = tuple(map(str, range(classes)))
    made = Dataset(name, images, targets, images, targets, names, mean, mean, corrupted=corrupted)
    return replace(made, augment=lambda batch, generator: batch)


@pytest.fixture
def blank_data(monkeypatch):
    """Datasets that need files are blank, so that all that comes after them is checked without these."""

    def load_idx(self, source, sizes):
        return blank(self.name, (1, 28, 28), 10)

    def load_cifar(self, source, sizes):
        return blank(self.name, (3, 32, 32), 10 if self.name == "cifar10" else 100, NoFiles())

    def load_tiny(self, source, sizes):
        return blank("tiny_imagenet", (3, 64, 64), 200, NoFiles())

    monkeypatch.setattr(IdxArchive, "load", load_idx)
    monkeypatch.setattr(CifarArchive, "load", load_cifar)
    monkeypatch.setattr(TinyImageNet, "load", load_tiny)
    library = ModuleType("timm")
    library.create_model = lambda name, num_classes, **options: nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes)
    )
    monkeypatch.setitem(sys.modules, "timm", library)


def test_every_preset_is_known_here():
    assert set(presets()) == set(RUNS)


def test_the_first_line_of_a_preset_describes_it():
    for name, summary in presets().items():
        assert 40 < len(summary) < 118, name


@pytest.mark.usefixtures("blank_data")
@pytest.mark.parametrize("preset", RUNS)
def test_a_preset_can_be_planned_and_be_significant(preset):
    plan = make_plan(load_source(preset))
    assert len(plan.runs) == RUNS[preset]
    assert plan.study.name == preset.rpartition("/")[2]
    seeds = {point.run.seed for point in plan.points}
    assert seeds == set(range(100 if preset.startswith("paper/circles") else 10))
    # The primary family can be significant: its smallest p, by flips of seeds, is the same for any number of tests.
    assert plan.study.correction == "westfall_young"
    assert 2 / 2 ** len(plan.study.grid["seed"]) < 0.05
    # What is said of sharpness has its controls, and the claims that are judged can be judged.
    assert plan.study.training.checkpoints_at_loss
    twins = ("calibrated", "matched_confidence") if plan.requested.task.classes else ()
    assert plan.study.twins == twins
    assert plan.claims


def test_data_that_are_missing_are_told_when_they_are_loaded(monkeypatch, tmp_path):
    def refuse(file, mirrors, target):
        raise DataError(f"{file.name} could not be downloaded")

    monkeypatch.setattr("sharpscope.data.files.download.fetch", refuse)
    for preset, file in [
        ("mnist", "train-images-idx3-ubyte.gz"),
        ("paper/cifar10-resnet18", "cifar-10-binary.tar.gz"),
        ("paper/cifar100-vit", "cifar-100-binary.tar.gz"),
        ("paper/tinyimagenet-vgg19", "tiny-imagenet-200.zip"),
    ]:
        source = load_source(preset)
        with pytest.raises(SharpscopeError, match=f"{file} could not be downloaded"):
            make_plan(source, DataSource(tmp_path).data_dir)
