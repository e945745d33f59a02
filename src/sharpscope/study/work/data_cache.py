"""What one process keeps from run to run: datasets, and what is evaluated under conditions of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
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
        self._kept: dict[tuple[str, str], list[tuple[Case, Altered]]] = {}
        self._sizes: dict[tuple[str, str], int] = {}
        self._components: dict[str, Component] = {}

    def dataset(self, component: Component) -> Dataset:
        """Return a dataset."""
        return self._load(self._key(component))

    def altered(self, component: Component, condition: str) -> Iterable[tuple[Case, Altered]]:
        """Return what is evaluated in each case of a condition.

        Args:
            component: The dataset.
            condition: One of its conditions.
        """
        key, dataset = (self._key(component), condition), self.dataset(component)
        if key not in self._kept:
            found = conditions_of(dataset, [condition])[condition]
            copies = len(found.cases) if found.facts.kind in ("inputs", "data") else 0
            cases = altered_cases(dataset, [condition])
            if not self._has_room(copies * dataset.test_inputs.nbytes, key[0]):
                return cases
            self._kept[key] = list(cases)
            self._sizes[key] = copies * dataset.test_inputs.nbytes
        return self._kept[key]

    def _has_room(self, size: int, data: str) -> bool:
        """Return whether more copies fit; those of other data make way: runs mostly come one dataset at a time."""
        if sum(self._sizes.values()) + size > KEPT_BYTES:
            for key in [key for key in self._kept if key[0] != data]:
                del self._kept[key], self._sizes[key]
        return sum(self._sizes.values()) + size <= KEPT_BYTES

    def _key(self, component: Component) -> str:
        key = component.model_dump_json()
        self._components[key] = component
        return key

    def _load_dataset(self, key: str) -> Dataset:
        component = self._components[key]
        member = DATASETS[component.name]
        dataset: Dataset = member(self._source, **member.complete(component.options))
        return replace(dataset, source=self._source)
