"""How a study goes, as a bar on a terminal and as plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from sharpscope.store.reasons import lacks
from sharpscope.study.run.engine import ProgressListener
from sharpscope.study.work.assignment import Advance, Outcome

# Seconds between two lines of one training, and the parts of it that one line is told of.
_PAUSE, _PARTS = 30.0, 10


@contextlib.contextmanager
def watching(stream: TextIO | None = None) -> Iterator[ProgressListener]:
    """Return a listener that suits where the output goes."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield Lines(stream)
        return
    bar = Bar(Console(file=stream))
    try:
        yield bar
    finally:
        bar.close()


class _Clock:
    """Runs done by this command, those under way, and the time that the rest may take."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.left = 0
        self.finished = 0
        self.failed = 0
        # Of each run under way, the share of its training that is done.
        self.running: dict[str, float] = {}
        # Of the runs that this command has worked on: how many have ended, and the seconds they took, with those of
        # their training among them.
        self._own = 0
        self._spent = 0.0
        self._trained = 0.0

    def begin(self, left: int) -> None:
        self._started = time.monotonic()
        self.left = left

    def advance(self, advance: Advance) -> None:
        share = advance.epoch / advance.epochs
        self.running |= {run_id: share for run_id in advance.run_ids if run_id in self.running}

    def count(self, outcome: Outcome) -> None:
        self.running.pop(outcome.run_id, None)
        self.left -= 1
        self.finished += 1
        self.failed += outcome.state == "failed"
        self._own += outcome.seconds > 0
        self._spent += outcome.seconds
        self._trained += outcome.training

    @property
    def remaining(self) -> str:
        if not self.left:
            return "nothing left"
        if not self.finished:
            return "time left unknown"
        elapsed = time.monotonic() - self._started
        # In runs: those that ended, and of those under way the part of a run that their training is, as far as it came.
        # Many are under way where the first one ends: in several processes, or trained together with it.
        begun = sum(self.running.values()) * (self._trained / self._spent if self._spent else 0.0)
        done = self.finished + begun
        # Before a process works it must start, which is paid once.
        spent = min(self._spent / self._own * done, elapsed) if self._own else elapsed
        return f"about {in_words(spent / done * (self.left - begun))} left"


class Lines:
    """One line a finished run, and some lines of a training that takes long.

    Args:
        stream: Where they go.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._clock = _Clock()
        self._total = 0
        # Of each training, by its first run: how many parts of it were told, and when the last one was.
        self._told: dict[str, tuple[int, float]] = {}

    def begin(self, total: int, kept: int) -> None:
        """Say what there is to do."""
        self._total = total
        self._clock.begin(total - kept)
        self._print(f"{total} runs, {kept} done before, {total - kept} to do")

    def started(self, run_id: str, label: str) -> None:
        """Say nothing: the end of a run is what counts here."""
        self._clock.running[run_id] = 0.0

    def advanced(self, advance: Advance, label: str) -> None:
        """Say how far a training has come, where that is news."""
        self._clock.advance(advance)
        first, *others = advance.run_ids
        now, part = time.monotonic(), _PARTS * advance.epoch // advance.epochs
        # From its first epoch on: a run of a job may have waited for others.
        told, when = self._told.setdefault(first, (0, now))
        if part > told and now - when >= _PAUSE:
            self._told[first] = (part, now)
            what = f"{len(advance.run_ids)} runs in training together" if others else f"{first} in training ({label})"
            self._print(f"{what}: epoch {advance.epoch:,} of {advance.epochs:,}")

    def ended(self, outcome: Outcome, label: str) -> None:
        """Say how a run ended and how long the rest may take."""
        self._clock.count(outcome)
        self._told.pop(outcome.run_id, None)
        what = lacks(outcome.missing) or outcome.reason
        reason = f": {what}" if what else ""
        count = f"{self._total - self._clock.left}/{self._total}"
        failed = f", {self._clock.failed} failed" if self._clock.failed else ""
        how = f"in {outcome.seconds:.1f} s" if outcome.stages or outcome.reason else "by another command"
        self._print(
            f"{count} {outcome.run_id} {outcome.state} {how} ({label}){reason} [{self._clock.remaining}{failed}]"
        )
        for note in outcome.notes:
            self.note(note)

    def note(self, text: str) -> None:
        """Print it."""
        self._print(f"Note: {text}")

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class Bar:
    """A bar with the runs done, failed and running, and the remaining time.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._clock = _Clock()
        self._count = Column(no_wrap=True)
        # The bar has what is left of the line by the words, which are never cut on 80 columns.
        self._progress = Progress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(table_column=self._count),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            console=console,
            expand=True,
        )
        self._task = self._progress.add_task("runs", total=None, state="")

    def begin(self, total: int, kept: int) -> None:
        """Show the bar."""
        self._clock.begin(total - kept)
        # A narrow terminal cuts the others.
        self._count.min_width = len(f"{total}/{total}")
        self._progress.update(self._task, total=total, completed=kept)
        self._progress.start()
        self._refresh()

    def started(self, run_id: str, label: str) -> None:
        """Show what is being worked on."""
        self._clock.running[run_id] = 0.0
        self._refresh()

    def advanced(self, advance: Advance, label: str) -> None:
        """Show how far trainings have come."""
        self._clock.advance(advance)
        self._refresh()

    def ended(self, outcome: Outcome, label: str) -> None:
        """Move the bar; a run that went wrong leaves a line."""
        self._clock.count(outcome)
        if outcome.state != "done" or outcome.missing:
            text = f"{outcome.run_id} {outcome.state} ({label}): {lacks(outcome.missing) or outcome.reason}"
            self._progress.console.print(escape(text), style="yellow" if outcome.state == "diverged" else "red")
        for note in outcome.notes:
            self.note(note)
        self._progress.advance(self._task)
        self._refresh()

    def note(self, text: str) -> None:
        """Print it above the bar."""
        self._progress.console.print(escape(f"Note: {text}"), style="yellow")

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()

    def _refresh(self) -> None:
        shares = self._clock.running.values()
        trained = f" ({sum(shares) / len(shares):.0%} trained)" if any(shares) else ""
        failed = f"{self._clock.failed} failed, " if self._clock.failed else ""
        state = f"{failed}{len(shares)} running{trained}, {self._clock.remaining}"
        self._progress.update(self._task, state=state)


def in_words(seconds: float) -> str:
    """Return a duration as a person would say it.

    >>> [in_words(s) for s in (0.2, 42, 180, 9000, 900_000)]
    ['1 s', '42 s', '3 min', '2.5 h', '10 days']
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.0f} days"
