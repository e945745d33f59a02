"""Snapshots: the moments at which a run's weights are kept, and what is called after them.

``end`` is the end of the training. ``loss-0.1`` is the moment when its loss first was 0.1 or less: regimes end at
different losses, and sharpness moves with the loss, so it is measured again where all had the same. The part after
``loss-`` is the loss as a person writes it.

A twin of a snapshot has its weights with the head divided by a temperature, so that it predicts the same with another
confidence: ``end~calibrated``, ``loss-0.1~calibrated``. No weights are kept of it, and it follows its snapshot in all
that can happen to that.
"""

from __future__ import annotations

END = "end"
# After how many steps of training a matched loss was reached.
STEP = "step"
# The twin whose temperature suits the calibration split, and that which is as sure as the reference level.
CALIBRATED, MATCHED = "calibrated", "matched_confidence"
# How the names of tables end.
TABLE = ".parquet"
_LOSS = "loss-"
_TWIN = "~"


def loss_name(loss: float) -> str:
    """Return a loss as it is written in names.

    >>> loss_name(1.0), loss_name(0.05), loss_name(0.12345678)
    ('1', '0.05', '0.12345678')
    """
    short = f"{loss:g}"
    return short if float(short) == loss else repr(loss)


def snapshot_at(loss: str) -> str:
    """Return the snapshot at a matched loss, by its name.

    >>> snapshot_at("0.1")
    'loss-0.1'
    """
    return f"{_LOSS}{loss}"


def twin_at(snapshot: str, twin: str) -> str:
    """Return a twin of a snapshot.

    >>> twin_at("loss-0.1", "calibrated")
    'loss-0.1~calibrated'
    """
    return f"{snapshot}{_TWIN}{twin}"


def base_of(snapshot: str) -> str:
    """Return the snapshot that a twin is of; itself of one that is no twin.

    >>> base_of("end~calibrated"), base_of("loss-0.1")
    ('end', 'loss-0.1')
    """
    return snapshot.partition(_TWIN)[0]


def twin_of(snapshot: str) -> str:
    """Return which twin a snapshot is; empty of one that is none.

    >>> twin_of("end~calibrated"), twin_of("loss-0.1")
    ('calibrated', '')
    """
    return snapshot.partition(_TWIN)[2]


def loss_of(snapshot: str) -> str:
    """Return the level of a snapshot, or of that which it is a twin of; empty where it has none.

    >>> loss_of("loss-0.1"), loss_of("end"), loss_of("loss-0.1~calibrated")
    ('0.1', '', '0.1')
    """
    base = base_of(snapshot)
    return base.removeprefix(_LOSS) if base.startswith(_LOSS) else ""


def column(key: str, snapshot: str) -> str:
    """Return the column of the ledger that holds a quantity of a snapshot.

    >>> column("ece", "end"), column("ece", "loss-0.1"), column("ece", "loss-0.1~calibrated")
    ('ece', 'ece@0.1', 'ece@0.1~calibrated')
    """
    loss, twin = loss_of(snapshot), twin_of(snapshot)
    return f"{key}{f'@{loss}' if loss else ''}{f'{_TWIN}{twin}' if twin else ''}"


def weights_file(snapshot: str) -> str:
    """Return the name of the file of a run's weights at a snapshot, which is no twin.

    >>> weights_file("end"), weights_file("loss-0.1")
    ('weights.safetensors', 'weights-at-0.1.safetensors')
    """
    return f"{column('weights', snapshot).replace('@', '-at-')}.safetensors"


def table_file(stage: str, key: str, snapshot: str) -> str:
    """Return the name of the file of the table that a stage found under a key.

    >>> table_file("trajectory", "trajectory", "end"), table_file("histogram", "wide", "loss-0.1")
    ('trajectory.parquet', 'histogram-wide-loss-0.1.parquet')
    """
    name = stage if key == stage else f"{stage}-{key}"
    return f"{name}{'' if snapshot == END else f'-{snapshot}'}{TABLE}"


def arrays_file(stage: str, key: str, snapshot: str) -> str:
    """Return the name of the file of the arrays that a stage found under a key.

    >>> arrays_file("histogram", "histogram", "loss-0.1"), arrays_file("histogram", "wide", "end")
    ('histogram-loss-0.1.safetensors', 'histogram-wide-end.safetensors')
    """
    return f"{stage if key == stage else f'{stage}-{key}'}-{snapshot}.safetensors"
