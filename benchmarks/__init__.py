"""Benchmarks: ratios measured side by side, run by hand with ``make bench`` or ``python -m benchmarks NAME...``."""
