"""What multiplies by a curvature matrix, and knows nothing of traces or eigenvalues."""

from sharpscope.curvature.operators.gauss_newton import GaussNewton
from sharpscope.curvature.operators.hessian import Hessian
from sharpscope.curvature.operators.products import Operator, Products, of_products
from sharpscope.curvature.operators.space import Space

__all__ = ["GaussNewton", "Hessian", "Operator", "Products", "Space", "of_products"]
