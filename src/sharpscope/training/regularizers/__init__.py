"""Regularizers other than update steps, one family a file; each is a regime."""
