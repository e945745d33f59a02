"""What one process keeps from run to run: datasets, and what is evaluated under conditions of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from sharpscope.data import DATASETS, Altered, Case, Dataset, DataSource, altered_cases, conditions_of
from sharpscope.spec import Component

# Altered test sets larger than this together are made anew for every run.
KEPT_BYTES = 256 * 2**20
KEPT_DATASETS = 2


class DataCache:
    """Loads each dataset once, and alters each test set once as long as the copies fit into memory.

    Args:
        data_dir: The user's folder of datasets.
    """

    def __init__(self, data_dir: Path | None) -> None:
        self._source = DataSource(data_dir)
        self._load = lru_cache(KEPT_DATASETS)(self._load_dataset)
        self._alter = lru_cache(KEPT_DATASETS)(self._alter_all)
        self._components: dict[str, Component] = {}

    def dataset(self, component: Component) -> Dataset:
        """Return a dataset."""
        return self._load(self._key(component))

    def altered(self, component: Component, conditions: Sequence[str]) -> Iterable[tuple[Case, Altered]]:
        """Return what is evaluated in each case of some conditions.

        Args:
            component: The dataset.
            conditions: Those of all datasets of a study; each dataset takes its own of them.
        """
        dataset = self.dataset(component)
        offered = conditions_of(dataset)
        own = [name for name in conditions if name in offered]
        copies = sum(len(offered[name].cases) for name in own if offered[name].facts.kind != "weights")
        if copies * dataset.test_inputs.nbytes > KEPT_BYTES:
            return altered_cases(dataset, own)
        return self._alter(self._key(component), tuple(own))

    def _key(self, component: Component) -> str:
        key = component.model_dump_json()
        self._components[key] = component
        return key

    def _load_dataset(self, key: str) -> Dataset:
        component = self._components[key]
        member = DATASETS[component.name]
        dataset: Dataset = member(self._source, **member.complete(component.options))
        return dataset

    def _alter_all(self, key: str, conditions: tuple[str, ...]) -> list[tuple[Case, Altered]]:
        return list(altered_cases(self._load(key), conditions))
