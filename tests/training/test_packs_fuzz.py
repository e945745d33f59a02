"""Networks and recipes drawn at random: whatever packs, comes out of a pack as it does alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.test_packs import Exact, check_like_alone, data, ends, vector
from torch import nn

from sharpscope.data import Dataset
from sharpscope.seeding import Stream
from sharpscope.training import Recipe
from sharpscope.training.optimizers import norm_or_bias
from sharpscope.training.packs import Member, network, pack_key
from sharpscope.training.schedules import cosine
from sharpscope.training.updates.sam import Sam

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Identity)


def drawn(seed: int, *, double: bool = True) -> list[Member]:
    """Return members of a pack: networks, data and recipes that differ where those of a pack may."""
    rng = np.random.default_rng(seed)

    def one(*choices: Any) -> Any:
        return choices[int(rng.integers(len(choices)))]

    regression, outputs = one(True, False), int(rng.integers(1, 4))
    outputs = outputs if regression else max(outputs, 2)
    samples = int(rng.integers(4, 40))
    shape: dict[str, Any] = {"samples": samples, "outputs": outputs, "regression": regression}
    datasets = [data(number, **shape, kind=Exact if double else Dataset) for number in range(2)]
    layers = _layers(one, outputs)
    optimizer = one("sgd", "adam", "adamw")
    shared: dict[str, Any] = {
        "optimizer": optimizer,
        "batch_size": int(rng.integers(1, samples + 5)),
        "epochs": int(rng.integers(1, 5)),
        "clip_norm": one(None, None, 0.5),
        "undecayed": one(None, None, norm_or_bias),
        "checkpoints_at_loss": one((), (), (1.5, 1.0)),
        "check_loss_every": one(None, 1, 3),
        "stop_at_loss": one(None, None, 0.9),
        "watched": one((), (0, 2)),
    }
    options = one({}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}) if optimizer == "sgd" else {}
    schedule = {"schedule": cosine} if one(True, False) else {}
    sam, adaptive = one(True, False), one(True, False)
    members = []
    for number in range(int(rng.integers(1, 5))):
        own = {"optimizer_options": {**options, "weight_decay": one(0.0, 0.0, 0.01)}, "lr": one(0.01, 0.05)}
        update = {"update": partial(Sam, rho=one(0.05, 0.2), adaptive=adaptive)} if sam else {}
        recipe = Recipe(**shared, **schedule, **own, **update)
        torch.manual_seed(number)
        model = nn.Sequential(*(make() for make in layers))
        model = model.double() if double else model
        members.append(Member(str(number), model, datasets[number % 2], recipe, Stream(number, "training")))
    return members


def _layers(one: Callable[..., Any], outputs: int) -> list[Callable[[], nn.Module]]:
    """Return how to make the layers of a network of four inputs."""
    made: list[Callable[[], nn.Module]] = [nn.Flatten] if one(True, False) else []
    width = 4
    for _ in range(one(0, 1, 1, 2, 3)):
        wide = one(1, 2, 5, 17)
        made += [partial(nn.Linear, width, wide, bias=one(True, True, False)), one(*ACTIVATIONS)]
        width = wide
    return [*made, partial(nn.Linear, width, outputs, bias=one(True, True, False))]


@pytest.mark.parametrize("seed", range(40))
def test_what_packs_comes_out_as_alone(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # As large batches go through the networks: one by one, and in parts.
    monkeypatch.setattr(network, "CHUNK", 1024 if seed % 2 else 7)
    assert len({pack_key(member.model, member.recipe, member.data) for member in drawn(seed)}) == 1
    check_like_alone(lambda: drawn(seed), tolerance=1e-8)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("seed", range(60))
def test_to_the_bit_no_company_matters(seed: int, *, double: bool) -> None:
    all_of, some = drawn(seed, double=double), drawn(seed, double=double)[::2]
    ends(all_of)
    ends(some)
    for one, other in zip(all_of[::2], some, strict=True):
        assert torch.equal(vector(one.model), vector(other.model))
