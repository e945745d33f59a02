"""Numbers that were drawn are kept while there is room, and are those that a fresh stream gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sharpscope.curvature.passes.draws import Draws
from sharpscope.seeding import Stream

SHAPES = {"weight": (3, 2), "bias": (3,)}


class Counted:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *shape: Any, **options: Any) -> Tensor:
        self.calls += 1
        return torch.randn(*shape, **options)


def parameters(dtype: torch.dtype = torch.float32, device: str = "cpu", **shapes: Any) -> dict[str, Tensor]:
    return {name: torch.zeros(shape, dtype=dtype, device=device) for name, shape in {**SHAPES, **shapes}.items()}


def test_they_are_those_of_the_stream_however_often_they_are_asked_for() -> None:
    draws, draw = Draws(), Counted()
    generator = Stream(0, "noise").torch()
    expected = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    for _ in range(3):
        found = draws.of(Stream(0, "noise"), draw, parameters())
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert draw.calls == 2


@pytest.mark.parametrize(
    ("stream", "other"),
    [
        (Stream(1, "noise"), parameters()),
        (Stream(0, "other"), parameters()),
        (Stream(0, "noise"), parameters(torch.float64)),
        (Stream(0, "noise"), parameters(bias=(4,))),
        (Stream(0, "noise"), {f"own.{name}": tensor for name, tensor in parameters().items()}),
    ],
)
def test_others_are_drawn_for_another_stream_or_model(stream: Stream, other: dict[str, Tensor]) -> None:
    draws, draw = Draws(), Counted()
    draws.of(Stream(0, "noise"), draw, parameters())
    found = draws.of(stream, draw, other)
    assert draw.calls == 4
    assert {name: (z.shape, z.dtype) for name, z in found.items()} == {n: (p.shape, p.dtype) for n, p in other.items()}


def test_the_last_ones_are_kept_and_no_more_than_there_is_room_for() -> None:
    draws, draw = Draws(room=2 * 9 * 4), Counted()
    for number in (0, 1, 0, 2, 0, 1):
        draws.of(Stream(number), draw, parameters())
    # All but the third and the fifth, which were kept.
    assert draw.calls == 2 * 4
    draws = Draws(room=8)
    for _ in range(2):
        draws.of(Stream(0), draw, parameters())
    assert draw.calls == 2 * 6


def test_what_is_drawn_in_inference_mode_can_be_differentiated_with() -> None:
    draws = Draws()
    with torch.inference_mode():
        draws.of(Stream(0), torch.randn, parameters())
    assert not any(z.is_inference() for z in draws.of(Stream(0), torch.randn, parameters()).values())


def test_nothing_is_kept_of_an_accelerator() -> None:
    draws, draws_made = Draws(), []

    def draw(shape: Any, *, generator: Any, dtype: torch.dtype, device: Any) -> Tensor:
        draws_made.append(device)
        return torch.empty(shape, dtype=dtype, device=device)

    class Unseeded(Stream):
        def torch(self, device: str | torch.device = "cpu") -> torch.Generator:
            return super().torch()

    for _ in range(2):
        draws.of(Unseeded(0), draw, parameters(device="meta"))
    assert len(draws_made) == 4
