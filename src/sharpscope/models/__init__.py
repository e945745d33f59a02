"""Networks by name, for any input size and number of channels."""

from __future__ import annotations

from sharpscope.models.build import build
from sharpscope.models.registry import MODELS

__all__ = ["MODELS", "build"]
