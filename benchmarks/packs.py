"""Small networks trained together, beside a plain loop that trains them one by one in as many processes."""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.timing import table
from sharpscope.data import DATASETS, Dataset, DataSource
from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.training import Recipe, train
from sharpscope.training.optimizers import OPTIMIZERS
from sharpscope.training.packs import Member, pack_size, train_pack

PROCESSES = 2
CIRCLES = {"name": "circles", "samples": 100, "noise": 0.0, "factor": 0.5}


@dataclass(frozen=True)
class Setting:
    """Networks that are trained.

    Attributes:
        data: Options of the dataset, its name among them.
        hidden: Widths of the layers.
        recipe: How each is trained.
        networks: How many.
        alone: How many of them the slower contenders train, whose times are scaled up.
    """

    data: dict[str, Any]
    hidden: tuple[int, ...]
    recipe: Recipe
    networks: int
    alone: int

    @property
    def dataset(self) -> Dataset:
        """The data."""
        entry = DATASETS[self.data["name"]]
        options = {key: value for key, value in self.data.items() if key != "name"}
        return entry(DataSource(), **entry.complete(options))

    def member(self, seed: int, dataset: Dataset) -> Member:
        """Return one of the trainings."""
        model = build("mlp", dataset.input_shape, dataset.outputs, Stream(seed, "init"), hidden=self.hidden)
        return Member(str(seed), model, dataset, self.recipe, Stream(seed, "training"))


SGD = Recipe(optimizer_options={"momentum": 0.9}, lr=0.01, batch_size=5, epochs=300)
SETTINGS = {
    "circles, 2-100-100-2, batches of 5 of 50": Setting(CIRCLES, (100, 100), SGD, 100, 6),
    "the same, with a matched loss": Setting(CIRCLES, (100, 100), replace(SGD, checkpoints_at_loss=(0.1,)), 100, 6),
    "digits, 64-64-64-10, batches of 64 of 500": Setting(
        {"name": "digits", "train_size": 500}, (64, 64), replace(SGD, batch_size=64, epochs=20), 100, 6
    ),
    "himmelblau, 2-64-64-1, Adam on all 10,000": Setting(
        {"name": "objective", "function": "himmelblau", "samples": 10_000, "standardize": True},
        (64, 64),
        Recipe(optimizer="adam", lr=0.001, batch_size=10_000, epochs=50),
        16,
        4,
    ),
}


def plain_loop(setting: Setting, seeds: list[int]) -> None:
    """Train networks one by one as a tutorial does."""
    torch.set_num_threads(1)
    dataset, recipe = setting.dataset, setting.recipe
    inputs, targets = dataset.normalize(dataset.train_inputs).flatten(1), dataset.train_targets
    for seed in seeds:
        model = setting.member(seed, dataset).model
        optimizer = OPTIMIZERS[recipe.optimizer](model.parameters(), recipe.lr, **recipe.optimizer_options)
        for _ in range(recipe.epochs):
            for chosen in torch.randperm(len(inputs)).split(recipe.batch_size):
                optimizer.zero_grad()
                dataset.objective.loss(model(inputs[chosen]), targets[chosen]).backward()
                optimizer.step()


def one_by_one(setting: Setting, seeds: list[int]) -> None:
    """Train networks one by one as a study does that cannot pack them."""
    torch.set_num_threads(1)
    dataset = setting.dataset
    for seed in seeds:
        member = setting.member(seed, dataset)
        train(member.model, member.data, member.recipe, member.stream)


def packed(setting: Setting, seeds: list[int]) -> None:
    """Train networks in packs."""
    torch.set_num_threads(1)
    dataset = setting.dataset
    members = [setting.member(seed, dataset) for seed in seeds]
    size = pack_size(members[0].model, setting.recipe, len(dataset.train_inputs))
    for start in range(0, len(members), size):
        deque(train_pack(members[start : start + size]), maxlen=0)


def seconds(contender: Any, setting: Setting, networks: int) -> float:
    """Return the wall time of a contender for all networks of a setting, in processes that have imported all."""
    seeds = [list(range(networks))[number::PROCESSES] for number in range(PROCESSES)]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        short = replace(setting, recipe=replace(setting.recipe, epochs=1))
        pool.starmap(contender, [(short, [0, 1])] * PROCESSES, chunksize=1)
        started = time.perf_counter()
        pool.starmap(contender, [(setting, own) for own in seeds], chunksize=1)
        return (time.perf_counter() - started) * setting.networks / networks


def main() -> None:
    """Print the table."""
    rows = []
    for name, setting in SETTINGS.items():
        times = {"plain": float("inf"), "train": float("inf"), "pack": float("inf")}
        for _ in range(3):
            times["plain"] = min(times["plain"], seconds(plain_loop, setting, setting.alone))
            times["train"] = min(times["train"], seconds(one_by_one, setting, setting.alone))
            times["pack"] = min(times["pack"], seconds(packed, setting, setting.networks))
        samples = len(setting.dataset.train_inputs)
        steps = setting.networks * setting.recipe.epochs * -(-samples // setting.recipe.batch_size)
        each = f"{times['pack'] * PROCESSES / steps * 1e6:.1f} us"
        rows.append(
            [
                f"{setting.networks} x {name}",
                *(f"{times[key]:.1f} s" for key in times),
                f"{times['plain'] / times['pack']:.1f}",
                each,
            ]
        )
    header = [
        "2 processes",
        "plain loop",
        "`train`",
        "packs",
        "plain loop / packs",
        "a step of a network",
    ]
    table("Small networks together", header, rows)
