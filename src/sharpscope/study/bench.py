"""What one process keeps from run to run: datasets and their corrupted test sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from sharpscope.data import DATASETS, SEVERITIES, Dataset, Source, corrupted_test_sets, corruptions_of
from sharpscope.spec import Component

# Corrupted test sets larger than this together are made anew for every run.
KEPT_BYTES = 256 * 2**20
KEPT_DATASETS = 2


class Bench:
    """Loads each dataset once, and corrupts each test set once as long as the copies fit into memory.

    Args:
        data_dir: The user's folder of datasets.
    """

    def __init__(self, data_dir: Path | None) -> None:
        self._source = Source(data_dir)
        self._load = lru_cache(KEPT_DATASETS)(self._load_dataset)
        self._corrupt = lru_cache(KEPT_DATASETS)(self._corrupt_all)
        self._components: dict[str, Component] = {}

    def dataset(self, component: Component) -> Dataset:
        """Return a dataset."""
        return self._load(self._key(component))

    def corrupted(self, component: Component, corruptions: Sequence[str]) -> Iterable[tuple[str, Tensor]]:
        """Return every condition with the test inputs under it.

        Args:
            component: The dataset.
            corruptions: Those of all datasets of a study; each dataset takes its own of them.
        """
        dataset = self.dataset(component)
        offered = corruptions_of(dataset)
        corruptions = [name for name in corruptions if name in offered]
        size = dataset.test_inputs.nbytes * len(corruptions) * len(SEVERITIES)
        if size > KEPT_BYTES:
            return corrupted_test_sets(dataset, corruptions)
        return self._corrupt(self._key(component), tuple(corruptions))

    def _key(self, component: Component) -> str:
        key = component.model_dump_json()
        self._components[key] = component
        return key

    def _load_dataset(self, key: str) -> Dataset:
        component = self._components[key]
        member = DATASETS[component.name]
        dataset: Dataset = member(self._source, **member.complete(component.options))
        return dataset

    def _corrupt_all(self, key: str, corruptions: tuple[str, ...]) -> list[tuple[str, Tensor]]:
        return list(corrupted_test_sets(self._load(key), corruptions))
