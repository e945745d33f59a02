"""What a plugin needs, and nothing else: these names stay where they are while the rest of the package may move.

Each is imported when it is first used, so that a plugin of scores does not load torch.

Of every kind:
    ``Stream`` is a named source of random numbers. ``SharpscopeError`` is the base of all errors that are one sentence
    for the user: ``SpecError`` for an option that does not fit, ``DataError`` for data that does not.

A measure:
    ``measure`` registers it with its ``MeasureFacts``. It is given a ``Risk`` and returns an ``Estimate``; it is a
    generator, ``Steps``. ``NotDefined`` says that it has no value for this model, loss or data.

    Of the data it asks for sums over samples: ``Mean``, ``Values``, ``Count``, ``GradientSum``, ``FeatureMoments``, or
    a ``Reduction`` of its own, which declares by ``Need`` what it takes from the ``Evaluation`` of a batch; one that is
    made of sums is ``Additive``.

    Of the curvature it asks for ``Products`` of vectors with the ``Hessian`` or the ``GaussNewton`` matrix in a
    ``Space`` of parameters; ``of_products`` tells in the estimate how they were computed.

    Of the neighborhood it asks for ``PerturbedLosses`` at the pairs of ``antithetic`` noise, of which it takes
    ``pair_means``. ``draw_rounds`` makes as many draws as a precision needs, ``mean_of`` is their mean with its
    standard error, and ``judged`` says whether that is precise enough.

A score:
    ``SCORES`` and ``ScoreFacts``. It is given ``Predictions``, which hold a ``Split`` for train and one for test, or a
    ``RegressionSplit`` where targets are numbers. They hold predictions under conditions, by ``Case``, where its facts
    ask for those ``of_kind``, or for those ``named``.

A dataset:
    ``DATASETS``. It is given a ``DataSource`` and returns a ``Dataset``. ``locate`` finds or downloads a
    ``RemoteFile``; ``stratified`` chooses a subset, and ``Samples`` are what twins are calibrated on. Its task is
    ``REGRESSION`` where targets are numbers. ``FUNCTIONS`` are those of the plane that networks are fitted to.

A condition:
    ``CONDITIONS`` and ``ConditionFacts``, which say whether it alters inputs, weights or data, or attacks a model. A
    corruption alters inputs: it is given ``Draws``, and ``corrupt`` applies it to images.

A model:
    ``MODELS``.

A regime:
    ``REGIMES``. It changes a ``Recipe``. An update step of its own is a ``Step``, or an ``Excursion`` if it evaluates
    gradients away from the weights. It calls ``Backward``, which returns a ``Pass``, and may ``climb`` by the
    ``gradients``. ``SCHEDULES`` are factors on the learning rate.

A section of the report:
    ``SECTIONS`` and ``SectionFacts``. It is given ``Evidence`` and returns ``Content``.

A stage of every run:
    ``STAGES``. It derives from ``Stage``. It is given ``Work``, a run with its model and predictions at a snapshot, and
    returns what it ``StageResult``: numbers, which each ``Column`` of the ledger takes up, and arrays.

An executor:
    ``EXECUTORS``. It is given an ``Assignment``, does each job by ``execute_job``, with one ``DataCache`` a process,
    which keeps datasets from run to run, and yields the ``Outcome``.

Sections, stages and executors need the extra "study", and say so where it is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharpscope.lazy import lazily

__all__ = [
    "CONDITIONS",
    "DATASETS",
    "EXECUTORS",
    "FUNCTIONS",
    "MODELS",
    "REGIMES",
    "REGRESSION",
    "SCHEDULES",
    "SCORES",
    "SECTIONS",
    "STAGES",
    "Additive",
    "Assignment",
    "Backward",
    "Case",
    "Column",
    "ConditionFacts",
    "Content",
    "Count",
    "DataCache",
    "DataError",
    "DataSource",
    "Dataset",
    "Draws",
    "Estimate",
    "Evaluation",
    "Evidence",
    "Excursion",
    "FeatureMoments",
    "GaussNewton",
    "GradientSum",
    "Hessian",
    "Mean",
    "MeasureFacts",
    "Need",
    "NotDefined",
    "Outcome",
    "Pass",
    "PerturbedLosses",
    "Predictions",
    "Products",
    "Recipe",
    "Reduction",
    "RegressionSplit",
    "RemoteFile",
    "Risk",
    "Samples",
    "ScoreFacts",
    "SectionFacts",
    "SharpscopeError",
    "Space",
    "SpecError",
    "Split",
    "Stage",
    "StageResult",
    "Step",
    "Steps",
    "Stream",
    "Values",
    "Work",
    "antithetic",
    "climb",
    "corrupt",
    "draw_rounds",
    "execute_job",
    "gradients",
    "judged",
    "locate",
    "mean_of",
    "measure",
    "named",
    "of_kind",
    "of_products",
    "pair_means",
    "stratified",
]

if TYPE_CHECKING:
    from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts
    from sharpscope.condition import Case, ConditionFacts, named, of_kind
    from sharpscope.curvature.estimate import Estimate, mean_of
    from sharpscope.curvature.estimators.sequential_sampling import draw_rounds, judged
    from sharpscope.curvature.measure import MeasureFacts, Steps, measure
    from sharpscope.curvature.operators import GaussNewton, Hessian, Products, Space, of_products
    from sharpscope.curvature.passes import Additive, Evaluation, Need, Reduction
    from sharpscope.curvature.passes.perturbation import PerturbedLosses, antithetic, pair_means
    from sharpscope.curvature.passes.reductions import Count, FeatureMoments, GradientSum, Mean, Values
    from sharpscope.curvature.risk import Risk
    from sharpscope.data import CONDITIONS, DATASETS, Dataset, DataSource, Samples
    from sharpscope.data.conditions.applying import corrupt
    from sharpscope.data.draws import Draws
    from sharpscope.data.files.download import RemoteFile, locate
    from sharpscope.data.sets.known_functions import FUNCTIONS
    from sharpscope.data.subsets.selection import stratified
    from sharpscope.errors import DataError, NotDefined, SharpscopeError, SpecError
    from sharpscope.models import MODELS
    from sharpscope.safety import SCORES, Predictions, RegressionSplit, ScoreFacts, Split
    from sharpscope.seeding import Stream
    from sharpscope.study.executors import EXECUTORS
    from sharpscope.study.packs import execute_job
    from sharpscope.study.work.assignment import Assignment, Outcome
    from sharpscope.study.work.data_cache import DataCache
    from sharpscope.study.work.stage import STAGES, Column, Stage, StageResult
    from sharpscope.study.work.work import Work
    from sharpscope.task import REGRESSION
    from sharpscope.training import REGIMES, SCHEDULES, Recipe
    from sharpscope.training.steps import Backward, Excursion, Pass, Step, climb, gradients
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "sharpscope.analysis.section": ("SECTIONS", "SectionFacts", "Evidence", "Content"),
            "sharpscope.condition": ("ConditionFacts", "Case", "of_kind", "named"),
            "sharpscope.curvature.estimate": ("Estimate", "mean_of"),
            "sharpscope.curvature.measure": ("measure", "MeasureFacts", "Steps"),
            "sharpscope.curvature.operators": ("Hessian", "GaussNewton", "Space", "Products", "of_products"),
            "sharpscope.curvature.passes": ("Need", "Evaluation", "Reduction", "Additive"),
            "sharpscope.curvature.passes.perturbation": ("PerturbedLosses", "antithetic", "pair_means"),
            "sharpscope.curvature.passes.reductions": ("Mean", "Values", "Count", "GradientSum", "FeatureMoments"),
            "sharpscope.curvature.risk": ("Risk",),
            "sharpscope.curvature.estimators.sequential_sampling": ("draw_rounds", "judged"),
            "sharpscope.data": ("DATASETS", "Dataset", "Samples", "DataSource", "CONDITIONS"),
            "sharpscope.data.conditions.applying": ("corrupt",),
            "sharpscope.data.subsets.selection": ("stratified",),
            "sharpscope.data.files.download": ("RemoteFile", "locate"),
            "sharpscope.data.draws": ("Draws",),
            "sharpscope.data.sets.known_functions": ("FUNCTIONS",),
            "sharpscope.errors": ("SharpscopeError", "NotDefined", "DataError", "SpecError"),
            "sharpscope.models": ("MODELS",),
            "sharpscope.safety": ("SCORES", "ScoreFacts", "Predictions", "Split", "RegressionSplit"),
            "sharpscope.seeding": ("Stream",),
            "sharpscope.study.work.assignment": ("Assignment", "Outcome"),
            "sharpscope.study.work.data_cache": ("DataCache",),
            "sharpscope.study.executors": ("EXECUTORS",),
            "sharpscope.study.packs": ("execute_job",),
            "sharpscope.study.work.stage": ("STAGES", "Stage", "Column", "StageResult"),
            "sharpscope.study.work.work": ("Work",),
            "sharpscope.task": ("REGRESSION",),
            "sharpscope.training": ("REGIMES", "SCHEDULES", "Recipe"),
            "sharpscope.training.steps": ("Step", "Excursion", "Backward", "Pass", "climb", "gradients"),
        },
    )
