"""The registry of executors, and what one is."""

from __future__ import annotations

from sharpscope.registry import Registry

# An executor is ``(jobs, assignment, *, options) -> iterator``: it yields the id of a run when work on it begins and
# its Outcome when that ends; when it is closed, all work ends at once.
EXECUTORS: Registry = Registry("executor", package="sharpscope.study.executors")
