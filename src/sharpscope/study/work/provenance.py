"""What made a result: versions, platform, device, threads. For the reader; of no influence on any identity."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version
from typing import Any

import torch

import sharpscope

_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "pandas")


def provenance(device: str) -> dict[str, Any]:
    """Return versions, platform, device and number of threads of this process."""
    return {**_constant(), "device": device, "threads": torch.get_num_threads()}


@cache
def _constant() -> dict[str, Any]:
    versions = {"sharpscope": sharpscope.__version__, "python": platform.python_version()}
    return {
        "versions": {**versions, **{package: version(package) for package in _PACKAGES}},
        "platform": platform.platform(),
        "machine": platform.machine(),
    }
