"""Snapshots: the moments at which a run's weights are kept, and what is called after them.

``end`` is the end of the training. ``loss-0.1`` is the moment when its loss first was 0.1 or less: regimes end at
different losses, and sharpness moves with the loss, so it is measured again where all had the same. The part after
``loss-`` is the loss as a person writes it.
"""

from __future__ import annotations

END = "end"
# After how many steps of training a matched loss was reached.
STEP = "step"
_LOSS = "loss-"


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


def loss_of(snapshot: str) -> str:
    """Return the name of the matched loss of a snapshot; empty where it is of none.

    >>> loss_of("loss-0.1"), loss_of("end")
    ('0.1', '')
    """
    return snapshot.removeprefix(_LOSS) if snapshot.startswith(_LOSS) else ""


def column(key: str, snapshot: str) -> str:
    """Return the column of the ledger that holds a quantity of a snapshot.

    >>> column("ece", "end"), column("ece", "loss-0.1")
    ('ece', 'ece@0.1')
    """
    loss = loss_of(snapshot)
    return f"{key}@{loss}" if loss else key


def weights_file(snapshot: str) -> str:
    """Return the name of the file of a run's weights.

    >>> weights_file("end"), weights_file("loss-0.1")
    ('weights.safetensors', 'weights-at-0.1.safetensors')
    """
    return f"{column('weights', snapshot).replace('@', '-at-')}.safetensors"


def arrays_file(stage: str, key: str, snapshot: str) -> str:
    """Return the name of the file of the arrays that a stage found under a key.

    >>> arrays_file("histogram", "histogram", "loss-0.1"), arrays_file("histogram", "wide", "end")
    ('histogram-loss-0.1.safetensors', 'histogram-wide-end.safetensors')
    """
    return f"{stage if key == stage else f'{stage}-{key}'}-{snapshot}.safetensors"
