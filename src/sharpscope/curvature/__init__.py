"""The mathematics of (model, loss, data), in rooms that build on one another.

``autograd`` knows single operations; ``risk`` evaluates a model and sees to it that this can be trusted; ``passes`` go
over the data for all sums that are asked for; ``operators`` multiply by curvature matrices, and ``estimators`` find
traces, eigenvalues and densities of matrices that are known by products alone. ``measure`` puts them together.
"""
