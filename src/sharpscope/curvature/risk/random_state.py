"""The global random states that a model may draw from."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


def random_fingerprint(device: torch.device) -> bytes:
    """Return the state of the generators that a model draws from, as bytes that change with every draw."""
    state = torch.default_generator.get_state().numpy().tobytes()
    if device.type == "cuda":
        state += torch.cuda.get_rng_state(device).numpy().tobytes()
    return state


@contextlib.contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Put the global random states of Python, NumPy and PyTorch back at the end of a block."""
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state is what is kept
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)  # noqa: NPY002
