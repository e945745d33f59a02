"""Where to compute: a device by its name, or the best there is."""

from __future__ import annotations

import os

import torch

from sharpscope.errors import SharpscopeError

CPU, AUTO = "cpu", "auto"


def resolve_device(name: str) -> str:
    """Return the name of a device that is there.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` and the like; ``auto`` for an accelerator if there is one.

    Raises:
        SharpscopeError: If there is no such device here.
    """
    there = _accelerators()
    if name == AUTO:
        return there[0] if there else CPU
    if name != CPU and name not in there:
        raise SharpscopeError(f"there is no device '{name}' here; there are {', '.join((AUTO, CPU, *there))}")
    return name


def usual_workers(device: str) -> int:
    """Return how many processes share a device where the user does not say: one a core that this process may use."""
    if device != CPU:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _accelerators() -> list[str]:
    if torch.cuda.is_available():
        return ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return ["mps"] if torch.backends.mps.is_available() else []
