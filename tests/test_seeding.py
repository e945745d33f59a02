"""Named streams: the same numbers for the same name everywhere, and no trace in the global state."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from sharpscope.numpy_stream import NumpyStream
from sharpscope.seeding import Stream


def test_a_seed_is_a_hash_of_the_path() -> None:
    import hashlib

    digest = hashlib.blake2b(b'[0,"init",3]', digest_size=8).digest()
    assert Stream(0, "init", 3).seed == int.from_bytes(digest, "big") >> 1
    assert 0 <= Stream(0).seed < 2**63


@pytest.mark.parametrize("other", [(0, "b"), (1, "a"), (0, "a", 0), ("0", "a"), ("0a",), (0,), ()])
def test_other_paths_are_other_streams(other: tuple[int | str, ...]) -> None:
    assert Stream(*other).seed != Stream(0, "a").seed


def test_a_child_is_the_longer_path() -> None:
    assert Stream(0).child("a", 1).seed == Stream(0, "a", 1).seed
    assert Stream(0).child("a").child(1).path == (0, "a", 1)
    assert repr(Stream(0, "a")) == "Stream(0, 'a')"


def test_without_torch_the_numbers_of_numpy_are_the_same() -> None:
    stream = NumpyStream(0, "a").child("b")
    assert repr(stream) == "NumpyStream(0, 'a', 'b')"
    assert stream.seed == Stream(0, "a", "b").seed
    assert (stream.numpy().random(3) == Stream(0, "a", "b").numpy().random(3)).all()


def test_children_are_independent() -> None:
    draws = np.stack([Stream(0).child(k).numpy().standard_normal(500) for k in range(20)])
    correlations = np.corrcoef(draws)[np.triu_indices(20, 1)]
    # Of 190 correlations of 500 pairs, with a standard deviation of 0.045 each, none is beyond 4.5 of them.
    assert np.abs(correlations).max() < 0.2


def test_every_generator_begins_anew() -> None:
    stream = Stream(7, "noise")
    assert torch.equal(torch.rand(3, generator=stream.torch()), torch.rand(3, generator=stream.torch()))
    assert (stream.numpy().random(3) == stream.numpy().random(3)).all()


def test_generators_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    torch.rand(3, generator=Stream(0).torch())
    assert torch.equal(torch.get_rng_state(), before)


def test_governing_seeds_the_global_generator_for_a_block() -> None:
    before = torch.get_rng_state()
    with Stream(0, "a").governing():
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, torch.rand(3, generator=Stream(0, "a").torch()))
    with contextlib.suppress(ZeroDivisionError), Stream(0, "a").governing():
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)


def test_another_process_has_the_same_seeds() -> None:
    script = "from sharpscope.seeding import Stream; print(Stream(3, 'x', 'y').seed)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert int(found.stdout) == Stream(3, "x", "y").seed
