"""Passes over the data: one evaluation of every batch serves all sums over samples that ask for it."""

from sharpscope.curvature.passes.evaluation import Additive, Evaluation, Need, Reduction
from sharpscope.curvature.passes.evaluator import Evaluator

__all__ = ["Additive", "Evaluation", "Evaluator", "Need", "Reduction"]
