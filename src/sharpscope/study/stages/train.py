"""Training: the weights at the end, and at each matched loss that is reached on the way."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from sharpscope.seeding import Stream
from sharpscope.spec import Run
from sharpscope.store.files import Damaged
from sharpscope.store.record import HISTORY_KEY, TRAINING, WATCHED_KEY, WEIGHTS_KEY
from sharpscope.store.run_folder import CHECKPOINT, HISTORY, RECORD, TRAINED, WATCHED, WEIGHTS
from sharpscope.store.snapshots import END, STEP, loss_of, weights_file
from sharpscope.store.tables import to_parquet
from sharpscope.store.wanted import Stamp, Wanted, answers
from sharpscope.study.work.assignment import Advance, Report
from sharpscope.study.work.requested import RequestedValues
from sharpscope.study.work.stage import STAGES, Column, Stage, StageResult
from sharpscope.study.work.streams import training_stream
from sharpscope.study.work.timing import Timing, first_of
from sharpscope.study.work.watching import watched_steps
from sharpscope.study.work.work import Weights, Work
from sharpscope.training import CheckpointError, Diverged, History, Kept, Recipe, train
from sharpscope.training.packs import Member, train_pack

# Seconds of training that a killed process may lose; a training that is shorter writes no checkpoint.
CHECKPOINT_PAUSE = 60.0
# Steps that are timed: enough to be told from noise, little enough to answer at once.
_STEPS = 4
# Of a pack, whose preparation takes as long as many steps.
_STEPS_IN_COMPANY = 64
_EPOCHS_IN_COMPANY = 1024
# A loss that no network comes down to.
_NEVER = 1e-300

_STEP_FACTS = {
    "kind": "training",
    "label": "Steps",
    "unit": "steps",
    "scale": "ratio",
    "summary": "Steps of training until then",
}


@STAGES.register(TRAINING)
class TrainStage(Stage):
    """Weights at the end of the training, and at each matched loss."""

    needs = "run"
    gives = "weights"

    def wanted(self, requested: RequestedValues, snapshot: str) -> dict[str, Stamp]:
        """Return what determines the weights at a snapshot beside the run."""
        loss = loss_of(snapshot)
        if not loss:
            return {WEIGHTS_KEY: {}, **({WATCHED_KEY: requested.watch} if requested.watch else {})}
        return {WEIGHTS_KEY: {"level": requested.matched_losses[loss], "check_loss_every": requested.check_loss_every}}

    def columns(self, requested: RequestedValues, snapshot: str) -> list[Column]:
        """Return after how many steps a matched loss was reached."""
        return [Column(STEP, WEIGHTS_KEY, (STEP,), facts=_STEP_FACTS)] if loss_of(snapshot) else []

    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, StageResult]:
        """Train from the initialization of the seed, and keep the weights of all snapshots that are wanted.

        Where the weights of an earlier training are there, and this one kept more of them on the way, what was found
        with them stays if they are the same to the bit.
        """
        stored = work.weights(END) if work.has_weights(END) else None
        model = work.initial_model()
        init = work.write_init(model)
        model, history = _trained(model, work)
        weights = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
        if stored is None or not _equal(stored, weights):
            _begin_anew(work, told=stored is not None)
        _keep(work, weights, history, init)
        return {}

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return the time of the epochs, and of the looks at the train loss between them."""
        if company := timing.company(run):
            return timing.once(f"{company} {_kind(run)}", lambda: _seconds_in_company(timing, run, company))
        training, samples = run.training, len(timing.dataset(run).train_inputs)
        goals = len(training.checkpoints_at_loss) + (training.stop_at_loss is not None)
        looks = training.epochs if goals else 0
        if training.check_loss_every is not None:
            # Bisection of the steps of one epoch.
            steps = math.ceil(samples / training.batch_size)
            looks += goals * math.ceil(math.log2(math.ceil(steps / training.check_loss_every)))
        epochs = timing.once(_kind(run), lambda: _seconds_of_epochs(timing, run))
        return epochs + timing.forward(run) * looks * samples

    def disk(self, timing: Timing, run: Run) -> dict[str, int]:
        """Return the size of the weights at all snapshots, and along the training."""
        size, wanted = timing.weights(run), timing.plan.wanted
        recipe = Recipe.from_spec(run.training, run.regime)
        watched = watched_steps(wanted, recipe, len(timing.dataset(run).train_targets))
        along = {"weights along the training": size * len(watched)} if watched else {}
        return {"weights": size * len(_moments(wanted)), **along}


def _moments(wanted: Wanted) -> dict[str, Stamp]:
    """Return what determines the weights at each snapshot that has its own, which twins have not."""
    return {
        snapshot: stages[TRAINING][WEIGHTS_KEY] for snapshot, stages in wanted.snapshots.items() if TRAINING in stages
    }


def _trained(model: nn.Module, work: Work) -> tuple[nn.Module, History]:
    """Train, unless that was done together with others; return the model at its end."""
    try:
        if work.trained is None:
            return model, _alone(model, work)
        if isinstance(work.trained.ended, Diverged):
            raise work.trained.ended
        return work.trained.model, work.trained.ended
    except Diverged as error:
        work.record.files[HISTORY] = work.folder.write(HISTORY, to_parquet(error.history.to_columns()))
        left = {"files": [HISTORY], "made_by": work.sign_training()}
        work.record.snapshots = {END: {TRAINING: {HISTORY_KEY: left}}}
        raise


def _alone(model: nn.Module, work: Work) -> History:
    """Train, from where an earlier process was killed if it left a checkpoint."""
    member, path = member_of(work, model), work.folder.path / CHECKPOINT
    try:
        return _train(member, work, path)
    except CheckpointError as error:
        work.note(error, "this run is trained from the start")
        work.folder.remove(CHECKPOINT)
        model.load_state_dict(work.initial_model().state_dict())
        return _train(member, work, path)


def _train(member: Member, work: Work, path: Path) -> History:
    settings: dict[str, Any] = {"device": work.device, "checkpoint": path, "checkpoint_pause": CHECKPOINT_PAUSE}
    tell = telling([member], work.report)
    if work.folder.run_id not in work.assignment.packs:
        own = member.model, member.data, member.recipe, member.stream
        return train(*own, **settings, on_epoch=lambda record: tell(record.epoch))
    # As a member of a pack, so that its weights are the same to the bit as in company.
    ((_, ended),) = train_pack([member], **settings, on_epoch=tell)
    if isinstance(ended, Diverged):
        raise ended
    return ended


def member_of(work: Work, model: nn.Module) -> Member:
    """Return the training of a run.

    Args:
        work: The run.
        model: Its model before the training.
    """
    # The matched losses are requested by the study, so the spec of this run need not name them.
    losses = tuple(stamp["level"] for stamp in _moments(work.wanted).values() if "level" in stamp)
    watched = watched_steps(work.wanted, work.recipe, len(work.dataset.train_targets))
    recipe = replace(work.recipe, checkpoints_at_loss=losses, watched=watched)
    return Member(work.folder.run_id, model, work.dataset, recipe, training_stream(work.run))


def telling(members: Sequence[Member], report: Report) -> Callable[[int], None]:
    """Return what tells of each epoch of a training, given its number.

    Args:
        members: Those that are trained together, with equally many epochs.
        report: Is told.
    """
    names, epochs = tuple(member.name for member in members), members[0].recipe.epochs
    return lambda epoch: report(Advance(names, epoch, epochs))


def _begin_anew(work: Work, *, told: bool) -> None:
    work.begin_anew()
    work.folder.remove(RECORD)
    work.folder.remove(TRAINED)
    if told:
        again = Damaged("training again, to keep weights at a train loss, ended in other weights than before")
        work.note(again, "all of it is made again")


def _keep(work: Work, weights: Weights, history: History, init: str) -> None:
    """Write all that a training gave; what vouches for it comes last."""
    record, made_by = work.record, work.sign_training()
    for snapshot, stamp in _moments(work.wanted).items():
        # What was found at a moment that is matched as before is of the same weights, or the record would be new.
        if not answers(record.at(snapshot, TRAINING).get(WEIGHTS_KEY), stamp):
            record.forget(snapshot)
        if snapshot == END:
            found, files = {"reached": True}, {WEIGHTS: save(weights), HISTORY: to_parquet(history.to_columns())}
        else:
            kept = history.at_loss.get(stamp["level"])
            found, files = _crossing(kept), {} if kept is None else {weights_file(snapshot): save(dict(kept.weights))}
        for name, data in files.items():
            record.files[name] = work.folder.write(name, data)
        entry = {**stamp, **found, "made_by": made_by, "files": list(files)}
        record.keep(snapshot, TRAINING, WEIGHTS_KEY, entry)
    moments = work.wanted.at(END, TRAINING).get(WATCHED_KEY)
    if moments is not None:
        along = {f"{step}/{name}": tensor for step, kept in history.at_step.items() for name, tensor in kept.items()}
        record.files[WATCHED] = work.folder.write(WATCHED, save(along))
        record.keep(END, TRAINING, WATCHED_KEY, {**moments, "made_by": made_by, "files": [WATCHED]})
    record.init = init
    work.folder.write_trained(record)
    work.forget_made()


def _crossing(kept: Kept | None) -> dict[str, Any]:
    """Return when a matched loss was first reached, and at what loss; all None where it was not."""
    crossing = {name: None if kept is None else getattr(kept, name) for name in ("epoch", "step", "loss")}
    return {**crossing, "reached": kept is not None}


def _equal(first: Weights, second: Weights) -> bool:
    """Return whether weights are the same to the bit; a NaN is never one."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _kind(run: Run) -> str:
    """Return text that is equal for runs whose training costs the same."""
    rate = {"lr": 1.0, "schedule": "", "schedule_options": {}, "warmup_steps": 0, "momentum": None}
    training = run.training.model_copy(update=rate)
    regime = run.regime.model_copy(update={"label": ""})
    return run.model_copy(update={"seed": 0, "training": training, "regime": regime}).model_dump_json()


def _seconds_of_epochs(timing: Timing, run: Run) -> float:
    model, dataset = timing.model(run), timing.dataset(run)
    recipe = Recipe.from_spec(run.training, run.regime)
    # Goals would be looked for on all data, and data held out would be a few samples of many.
    step = replace(_timed(recipe), epochs=1, checkpoints_at_loss=(), early_stopping=None)

    def steps(samples: int) -> None:
        # The time of one that diverges counts all the same.
        with suppress(Diverged):
            train(model, first_of(dataset, samples), step, Stream("forecast"), device=timing.device)

    return recipe.epochs * timing.extrapolated(steps, len(dataset.train_inputs), _STEPS * recipe.batch_size)


def _seconds_in_company(timing: Timing, run: Run, company: int) -> float:
    """Return the share of a run in the time of its pack, which looks at all train losses together."""
    model, dataset = timing.model(run), timing.dataset(run)
    recipe = Recipe.from_spec(run.training, run.regime)
    samples = min(len(dataset.train_inputs), _STEPS_IN_COMPANY * recipe.batch_size)
    few = first_of(dataset, samples)
    awaited = recipe.checkpoints_at_loss or recipe.stop_at_loss is not None
    step = replace(_timed(recipe), checkpoints_at_loss=(_NEVER,) if awaited else ())

    def epochs(number: int) -> None:
        member = Member("", model, few, replace(step, epochs=number), Stream("forecast"))
        deque(train_pack([member] * company, device=timing.device), maxlen=0)

    seconds = timing.extrapolated(epochs, recipe.epochs, _EPOCHS_IN_COMPANY)
    return seconds / company * len(dataset.train_inputs) / samples


def _timed(recipe: Recipe) -> Recipe:
    """Return a recipe as it is timed: compiling takes far longer than a few steps, and none is to be the last."""
    return replace(recipe, compile=False, stop_at_loss=None)
