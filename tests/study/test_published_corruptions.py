"""Datasets with published corruptions in a study: these take the place of generated ones, and must be there first."""

from dataclasses import dataclass, replace

import pytest
import torch

from sharpscope.data import DATASETS, SEVERITIES, DataSource, conditions_of
from sharpscope.data.sets.cifar import CifarArchive
from sharpscope.errors import DataError, SpecError
from sharpscope.spec import Component
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.source.study import load_source
from sharpscope.study.work.data_cache import DataCache

STUDY = """
name: published
data: cifar10
model: {name: mlp, hidden: [4]}
grid: {data.name: [cifar10, digits]}
scores: [corruption_accuracy]
measures: [margin]
"""


@dataclass
class Suite:
    """Two corruptions; each case is told by the value of its pixels."""

    missing: bool = False
    name = "suite"
    version = 3
    corruptions = ("fog", "snow")

    def prepare(self):
        if self.missing:
            raise DataError("the suite is nowhere")

    def images(self, corruption, severity):
        return torch.full((797, 1, 8, 8), 10 * self.corruptions.index(corruption) + severity, dtype=torch.uint8)


@pytest.fixture
def suite(monkeypatch):
    """Let ``cifar10`` be the digits with a published suite."""
    suite = Suite()
    digits = replace(DATASETS["digits"](DataSource(), train_size=20), corrupted=suite)
    monkeypatch.setattr(CifarArchive, "load", lambda self, *arguments: digits)
    return suite


@pytest.fixture
def source(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    return load_source(str(tmp_path / "study.yaml"))


def test_a_plan_names_published_corruptions_apart_from_generated_ones(suite, source):
    corruptions = make_plan(source).requested.conditions
    assert {name: version for name, version in corruptions.items() if "/" in name} == {"suite/fog": 3, "suite/snow": 3}
    assert corruptions["gaussian_noise"] == 2


def test_a_suite_that_is_missing_is_told_before_anything_runs(suite, source):
    suite.missing = True
    with pytest.raises(SpecError, match="the suite is nowhere"):
        make_plan(source)


def test_each_dataset_takes_its_own_of_a_studys_corruptions(suite, source):
    corruptions = list(make_plan(source).requested.conditions)
    cache, data = DataCache(None), {name: Component(name=name) for name in ("cifar10", "digits")}
    offered = {name: conditions_of(cache.dataset(component)) for name, component in data.items()}
    assert set(offered["cifar10"]) & set(corruptions) == {"suite/fog", "suite/snow"}
    found = {
        str(case): int(altered.inputs[0, 0, 0, 0])
        for name in ("suite/fog", "suite/snow")
        for case, altered in cache.altered(data["cifar10"], name)
    }
    assert found == {f"suite/{c}-{s}": 10 * i + s for i, c in enumerate(Suite.corruptions) for s in SEVERITIES}
    assert len(set(offered["digits"]) & set(corruptions)) == len(corruptions) - 2
