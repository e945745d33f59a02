"""Estimators of a symmetric matrix that is known by its products only, and of means that are drawn one by one.

Those of a matrix are generators that yield blocks of vectors, rows of shape ``[k, P]``, receive their products, and
return what they found; they know nothing of networks, and are tested on plain matrices:

>>> import torch
>>> matrix = torch.diag(torch.tensor([3.0, 1.0, 0.5, 0.1]))
>>> found = drive(deflated_probes(4, torch.Generator().manual_seed(0), sketch=4), lambda v: v @ matrix)
>>> round(found.trace[0], 4)
4.6
"""

from sharpscope.curvature.estimators.density import Spectrum, stochastic_lanczos_quadrature
from sharpscope.curvature.estimators.driver import Algorithm, drive
from sharpscope.curvature.estimators.lanczos import Eigenvalues, lanczos
from sharpscope.curvature.estimators.traces import ProbeValues, deflated_probes

__all__ = [
    "Algorithm",
    "Eigenvalues",
    "ProbeValues",
    "Spectrum",
    "deflated_probes",
    "drive",
    "lanczos",
    "stochastic_lanczos_quadrature",
]
