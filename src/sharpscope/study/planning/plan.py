"""From a study as written to all that will be done: names resolved, defaults filled in, the grid expanded.

Everything that can be wrong with a study is found here, before anything is written.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from sharpscope.data import DATASETS, Condition, Dataset, conditions_of
from sharpscope.errors import DataError, SpecError
from sharpscope.measurement import resolve_measures, told_together
from sharpscope.models import MODELS
from sharpscope.safety import SCORES
from sharpscope.spec import REGIME, Claim, GridPoint, Regime, Run, Study, Watch, arms, is_option
from sharpscope.store.snapshots import MATCHED, loss_name
from sharpscope.store.wanted import Wanted
from sharpscope.study.planning.catalog import catalog_of, check_columns, margins_of, measured_at_end, primary_of
from sharpscope.study.planning.dry_run import DryRun, text_of
from sharpscope.study.planning.packing import Job, Packing, packed
from sharpscope.study.planning.plugins import load_plugins, resolve_plugins, stages_of
from sharpscope.study.planning.resolve import at, completed, measure_request, reduced, request
from sharpscope.study.source.claims import judged_by, resolve_claims
from sharpscope.study.source.study import StudySource
from sharpscope.study.work.devices import CPU
from sharpscope.study.work.requested import RequestedValue, RequestedValues
from sharpscope.study.work.stage import wanted_of
from sharpscope.task import Task
from sharpscope.training import REGIMES


@dataclass(frozen=True)
class Plan:
    """A study that can be run.

    Attributes:
        study: The study, defaults filled in.
        points: The grid; options at their defaults are left out of each run, so that its id ignores them.
        requested: What is wanted of each run, as the study says it.
        data_dir: The user's folder of datasets.
        datasets: What was loaded to check the study, by the text of its component.
        notes: What the user should know before it is run.
        command: What runs the study again; see ``StudySource``.
        claims: What the study judges, as far as it can.
        packings: Whether each run can be trained together with others.
    """

    study: Study
    points: tuple[GridPoint, ...]
    requested: RequestedValues
    data_dir: Path | None = None
    datasets: dict[str, Dataset] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    packings: Mapping[str, Packing] = field(default_factory=dict, repr=False)

    @cached_property
    def runs(self) -> dict[str, Run]:
        """The runs by their ids, in the order of the grid."""
        return {point.run.id: point.run for point in self.points}

    @cached_property
    def wanted(self) -> Wanted:
        """The same, as the stages understand it: every result by snapshot, stage and key."""
        return wanted_of(self.requested)

    @cached_property
    def references(self) -> dict[str, str]:
        """The run of the reference level with the seed and the setting of each run; none where no twin needs it."""
        if MATCHED not in self.requested.twins:
            return {}
        factor, places = self.study.factor, {}
        for point in self.points:
            label = point.run.regime.label
            rest = {key: value for key, value in point.coordinates.items() if key != factor.name}
            setting = "" if factor.name == REGIME else factor.settings[label]
            kept = {k: v for k, v in rest.items() if factor.name != REGIME or not is_option(k)}
            place = json.dumps([point.run.seed, setting, kept], sort_keys=True, default=str)
            places[point.run.id] = (place, factor.level(label, point.coordinates))
        found = {place: run_id for run_id, (place, level) in places.items() if level == factor.reference}
        return {run_id: found[place] for run_id, (place, _) in places.items() if place in found}

    @property
    def jobs(self) -> list[Job]:
        """The units of work, each a list of run ids done by one process: a run that others need comes before them."""
        return self._packed[0]

    @property
    def packs(self) -> dict[str, str]:
        """The pack of each run that is trained together with others; none of one that is trained alone."""
        return self._packed[1]

    @cached_property
    def _packed(self) -> tuple[list[Job], dict[str, str]]:
        jobs: dict[str, list[str]] = {}
        for run_id in self.runs:
            first = self.references.get(run_id, run_id)
            jobs.setdefault(first, [first]).extend([run_id] if run_id != first else [])
        packings = {run_id: self.packings.get(run_id, Packing()) for run_id in self.runs}
        return packed([tuple(job) for job in jobs.values()], packings)

    @cached_property
    def catalog(self) -> dict[str, Any]:
        """The grid and the facts of every column: what a report needs that otherwise only the code knows."""
        return catalog_of(self.study, self.points, self.requested, self.wanted, self.claims)

    def dataset_of(self, run: Run) -> Dataset:
        """Return the dataset of a run."""
        return self.datasets[text_of(run.data)]


def make_plan(source: StudySource, data_dir: Path | None = None, *, to_run: bool = True, device: str = CPU) -> Plan:
    """Resolve a study.

    Args:
        source: The study as written.
        data_dir: The user's folder of datasets.
        to_run: Whether all data must be there. Else nothing is downloaded, and noise stands in for images that are
            missing where the shape of these is known; the notes tell.
        device: Where models are tried.

    Raises:
        SpecError: If the study cannot be run as written; the message has the place in the file.
    """
    with source.located(), _from_the_grid(source.study.grid):
        plugins = resolve_plugins(source.study.plugins, source.folder)
        load_plugins(plugins)
        study = source.study.model_copy(update={"plugins": plugins})
        points = study.expand()
        study = study.model_copy(update={"compare": study.factor.written(study.grid)})
        dry_run = DryRun(study, data_dir, to_run=to_run, device=device)
        for point in points:
            dry_run.check(point)
        short = tuple(GridPoint(_reduced(point.run), point.coordinates) for point in points)
        _check_distinct(short)
        task = _task(dry_run.datasets.values())
        requested = _requested(study, points, dry_run, task)
        pairs = zip(short, points, strict=True)
        datasets = {text_of(s.run.data): dry_run.datasets[text_of(p.run.data)] for s, p in pairs}
        named = resolve_claims(study.claims, source.folder)
        claims, unjudged = judged_by(named, measured_at_end(requested), study.factor.name)
        study = study.model_copy(update={"claims": tuple(claim.name for claim in named)})
        filled = _filled(study, requested)
        packings = {s.run.id: dry_run.pack(p.run) for s, p in zip(short, points, strict=True)}
        notes = (*dry_run.notes, *unjudged)
        return Plan(filled, short, requested, data_dir, datasets, notes, source.command, claims, packings)


@contextlib.contextmanager
def _from_the_grid(grid: Mapping[str, Any]) -> Iterator[None]:
    """Place errors about a value at the key of the grid that gave it, where one did."""
    try:
        yield
    except SpecError as error:
        # Without numbers of items, as the grid has it: an option of the second regime is that of every one.
        dotted = ".".join(step for step in error.loc if isinstance(step, str))
        loc = next((("grid", key) for key in grid if f"{dotted}.".startswith(f"{key}.")), error.loc)
        raise SpecError(error.message, loc) from None


def _reduced(run: Run) -> Run:
    """Return a run without what is at its default, and its optimizer in the one spelling that identities use."""
    regime = run.regime.model_copy(update={"parts": tuple(reduced(REGIMES, part) for part in run.regime.parts)})
    training = run.training.model_copy(update={"optimizer": run.training.optimizer.lower()})
    changed = {"data": reduced(DATASETS, run.data), "model": reduced(MODELS, run.model)}
    return run.model_copy(update={**changed, "training": training, "regime": regime})


def _filled(study: Study, requested: RequestedValues) -> Study:
    """Return the study with its defaults filled in."""
    regimes = tuple(_filled_regime(regime, study.grid) for regime in study.regimes)
    scores = requested.scores | requested.pair_scores
    changed = {
        "data": completed(DATASETS, study.data, ("data",)),
        "model": completed(MODELS, study.model, ("model",)),
        "regimes": regimes,
        "measures": {key: _written(wanted, study.measures_subset) for key, wanted in requested.measures.items()},
        "scores": {key: {"score": w.name, **w.options} for key, w in scores.items()},
        "watch": _filled_watch(study, requested),
        "primary": primary_of(study.primary, requested),
        "margin": margins_of(study.margin, requested),
    }
    return study.model_copy(update=changed)


def _filled_watch(study: Study, requested: RequestedValues) -> Watch | None:
    """Return what is measured along each training, with all options."""
    if study.watch is None:
        return None
    measures = {key: _written(wanted, study.watch.subset) for key, wanted in requested.watched.items()}
    return study.watch.model_copy(update={"measures": measures})


def _filled_regime(regime: Regime, grid: Mapping[str, list[Any]]) -> Regime:
    """Return a regime with all options but those that the grid gives."""
    arm, given = next(arms(regime, grid))
    parts = []
    for part in arm.parts:
        whole = completed(REGIMES, part, ())
        kept = {name: value for name, value in whole.options.items() if f"regimes.{part.name}.{name}" not in given}
        parts.append(whole.model_copy(update={"options": kept}))
    return regime.model_copy(update={"parts": tuple(parts)})


def _written(wanted: RequestedValue, subset: int | None) -> dict[str, Any]:
    """Return a measure as a study has it, whose measures are all taken on ``subset`` where they do not say."""
    own = {} if wanted.subset == subset else {"subset": wanted.subset}
    return {"measure": wanted.name, **wanted.options, **own}


def _task(datasets: Iterable[Dataset]) -> Task:
    """Return the task of all data: runs of different ones have no columns in common."""
    tasks = {dataset.task.name: dataset for dataset in datasets}
    if len(tasks) > 1:
        named = " and ".join(f"'{dataset.name}' is one of {name}" for name, dataset in tasks.items())
        raise SpecError(f"a study has one task, and dataset {named}; make it two studies", ("data",))
    return next(iter(tasks.values())).task


def _requested(study: Study, points: Sequence[GridPoint], dry_run: DryRun, task: Task) -> RequestedValues:
    """Return what a study wants of each run; where it does not say, all that its data and models allow."""
    datasets = dry_run.datasets.values()
    offered = [conditions_of(dataset) for dataset in datasets]
    measures = _measures(study, points, dry_run)
    written = study.scores
    if written is None:
        usual = [name for name, score in SCORES.items() if score.facts.default and _defined_for(task, name)]
        written = {name: {"score": name} for name in usual if _suits(name, offered)}
    scores: dict[str, RequestedValue] = {}
    pair_scores: dict[str, RequestedValue] = {}
    for key, options in written.items():
        wanted = request(SCORES, options, ("scores", key))
        if not _defined_for(task, wanted.name):
            tasks = " and ".join(SCORES[wanted.name].facts.tasks)
            message = f"'{wanted.name}' is defined for {tasks}, and these data are of {task.name}; leave it out"
            raise SpecError(message, ("scores", key))
        read = at(("scores", key), partial(_conditions_read, wanted.name, wanted.options, offered))
        wanted = replace(wanted, reads=_versions(datasets, read))
        (pair_scores if SCORES[wanted.name].facts.of_pairs else scores)[key] = wanted
    readers = {name: key for key, wanted in reversed([*scores.items(), *pair_scores.items()]) for name in wanted.reads}
    dry_run.prepare_suites(readers)
    runs = [point.run for point in points]
    dry_run.check_conditions(runs, readers)
    for key in [key for key, wanted in pair_scores.items() if SCORES[wanted.name].facts.features][:1]:
        dry_run.check_features(runs, key)
    conditions = _versions(datasets, readers)
    if study.twins and not task.classes:
        raise SpecError("a twin has another confidence, and predicted numbers have none; leave twins out", ("twins",))
    stages = stages_of(study.plugins)
    compared = {"factor": study.factor.name, "reference": study.factor.reference}
    requested = RequestedValues(
        measures, scores, pair_scores, conditions, *_matched_losses(points), stages, task, study.twins, compared
    )
    pictured = all(dataset.pictured for dataset in dry_run.datasets.values())
    requested = replace(requested, pictured=pictured, **_watched(study, points, dry_run))
    check_columns(requested)
    return requested


def _measures(study: Study, points: Sequence[GridPoint], dry_run: DryRun) -> dict[str, RequestedValue]:
    """Return the measures that are wanted: those asked for, or the default ones that every model of the grid has."""
    if study.measures is not None:
        asked = {
            key: measure_request(options, study.measures_subset, ("measures", key))
            for key, options in study.measures.items()
        }
        dry_run.check_measures([point.run for point in points], asked)
        return asked
    usual = resolve_measures(None)
    wanted = {name: measure_request({"measure": name}, study.measures_subset, ("measures", name)) for name in usual}
    refused = dry_run.refused([point.run for point in points], wanted)
    if refused:
        dry_run.notes.append(f"left out of the default measures: {told_together(refused)}")
    return {name: w for name, w in wanted.items() if name not in refused}


def _watched(study: Study, points: Sequence[GridPoint], dry_run: DryRun) -> dict[str, Any]:
    """Return what is measured along each training, and when, by the names of ``RequestedValues``."""
    watch = study.watch
    if watch is None:
        return {}
    subset = study.measures_subset if watch.subset is None else watch.subset
    asked = {
        key: measure_request(options, subset, ("watch", "measures", key)) for key, options in watch.measures.items()
    }
    dry_run.check_measures([point.run for point in points], asked, ("watch", "measures"))
    return {"watched": asked, "watch": watch.moments}


def _matched_losses(points: Sequence[GridPoint]) -> tuple[dict[str, float], int | None]:
    """Return the train losses at which all runs are to be measured, from the largest on, and how closely."""
    losses = {loss for point in points for loss in point.run.training.checkpoints_at_loss}
    steps = {point.run.training.check_loss_every: None for point in points} if losses else {None: None}
    if len(steps) > 1:
        raise SpecError(
            "a train loss is matched equally closely in all runs of a study; give check_loss_every one value, not "
            f"{', '.join(str(k or 'null') for k in steps)}",
            ("training", "check_loss_every"),
        )
    return {loss_name(loss): loss for loss in sorted(losses, reverse=True)}, next(iter(steps))


def _defined_for(task: Task, score: str) -> bool:
    return task.name in SCORES[score].facts.tasks


def _conditions_read(score: str, options: Mapping[str, Any], offered: Iterable[Mapping[str, Condition]]) -> set[str]:
    """Return the conditions of all datasets that a score reads predictions under.

    Raises:
        DataError: If a dataset does not have them.
    """
    choose = SCORES[score].facts.conditions
    if choose is None:
        return set()
    return {name for own in offered for name in choose(options, {n: c.facts for n, c in own.items()})}


def _versions(datasets: Iterable[Dataset], names: Collection[str]) -> dict[str, int]:
    """Return the versions of the definitions of some conditions, of all datasets that come under them."""
    offered = (conditions_of(dataset, names) for dataset in datasets)
    return {name: condition.version for own in offered for name, condition in own.items() if name in names}


def _suits(score: str, offered: Iterable[Mapping[str, Condition]]) -> bool:
    """Return whether all datasets have the conditions that a score reads predictions under by default."""
    try:
        _conditions_read(score, SCORES[score].defaults, offered)
    except DataError:
        return False
    return True


def _check_distinct(points: Iterable[GridPoint]) -> None:
    seen: dict[str, GridPoint] = {}
    for point in points:
        other = seen.setdefault(point.run.id, point)
        if other is not point:
            raise SpecError(
                f"two points of the grid are the same run once defaults are filled in: {other.described()} and "
                f"{point.described()}; leave one of them out",
                ("regimes",) if other.run.regime.label != point.run.regime.label else ("grid",),
            )
