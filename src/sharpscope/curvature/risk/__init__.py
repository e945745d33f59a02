"""The empirical risk of a model on data: what is evaluated, and all that is seen to before it is."""

from sharpscope.curvature.risk.empirical import Parameters, Risk

__all__ = ["Parameters", "Risk"]
