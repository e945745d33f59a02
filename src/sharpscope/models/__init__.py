"""Networks by name, for any input size and number of channels."""

from __future__ import annotations

from sharpscope.models.build import build, build_untrained, build_weightless
from sharpscope.models.registry import MODELS

__all__ = ["MODELS", "build", "build_untrained", "build_weightless"]
