"""Where the jobs of a study are done, one file an executor."""

from __future__ import annotations

from sharpscope.study.executors.registry import EXECUTORS

__all__ = ["EXECUTORS"]
