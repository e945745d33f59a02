"""Where the jobs of a study are done, one file an executor."""

from __future__ import annotations

from sharpscope.study.work.executors import EXECUTORS

__all__ = ["EXECUTORS"]
