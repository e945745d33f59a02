"""Conditions that test sets and weights are altered by, one file a family; ``applying`` puts a dataset under them."""
