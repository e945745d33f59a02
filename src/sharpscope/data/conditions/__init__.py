"""The conditions that test sets and weights are altered by, one file a family, and ``applying`` them to a dataset."""
