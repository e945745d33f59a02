"""What a study, a run and a regime are: their structure, the expansion of a grid, and the identity of a run.

Only structure is checked here. Names and options are resolved against the registries in ``sharpscope.study.planning``.
"""

from sharpscope.spec.claim import Claim
from sharpscope.spec.component import Component
from sharpscope.spec.factor import BASELINE, REGIME, Compare, Factor, arm_label
from sharpscope.spec.grid import GridPoint, arms, changes_test_set, is_option
from sharpscope.spec.predictions import Contrast, Distinction, Prediction, Relation, Rivalry, Trend, kind_of
from sharpscope.spec.regime import Regime
from sharpscope.spec.run import Run
from sharpscope.spec.structure import Loc, Strict, validated
from sharpscope.spec.study import EXTENDS, MOST_RUNS, REQUIRED, Study
from sharpscope.spec.training import Training
from sharpscope.spec.values import BY_A_WORD, set_dotted, value_text
from sharpscope.spec.watch import Watch, steps_within

__all__ = [
    "BASELINE",
    "BY_A_WORD",
    "EXTENDS",
    "MOST_RUNS",
    "REGIME",
    "REQUIRED",
    "Claim",
    "Compare",
    "Component",
    "Contrast",
    "Distinction",
    "Factor",
    "GridPoint",
    "Loc",
    "Prediction",
    "Regime",
    "Relation",
    "Rivalry",
    "Run",
    "Strict",
    "Study",
    "Training",
    "Trend",
    "Watch",
    "arm_label",
    "arms",
    "changes_test_set",
    "is_option",
    "kind_of",
    "set_dotted",
    "steps_within",
    "validated",
    "value_text",
]
