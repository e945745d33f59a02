"""Update steps beyond the optimizer's own, one family a file; each is a regime."""
