"""What is on disk: the folder of a study, the folders of its runs, and what is in each.

::

    DIR/catalog.json                   the study as run, its present grid, and the facts of every column of the ledger
    DIR/study.yaml                     the study again, for people; the program does not read it back
    DIR/command.json                   what runs the study again
    DIR/primary.json                   the primary family when the study first ran
    DIR/pairs.parquet                  scores of pairs of runs
    DIR/inits/<hash>.safetensors       initial weights, shared by the regimes of one seed
    DIR/runs/<run_id>/run.json         written last, so that its presence means that the rest is there
    DIR/runs/<run_id>/weights.safetensors, predictions.safetensors, history.parquet
    DIR/runs/<run_id>/weights-at-<loss>.safetensors   weights when the train loss was first that small
    DIR/runs/<run_id>/<stage>-<snapshot>.safetensors  arrays that a stage found at a snapshot
    DIR/runs/<run_id>/trained.json     what the training left; vouches for the weights where run.json cannot
    DIR/runs/<run_id>/training.safetensors   the state of a training under way; removed when the run is done
    DIR/runs/<run_id>/traceback.txt    of the last failure
    DIR/runs/<run_id>/.lock            the lease of the process that does the run; free when that has ended
    DIR/.lock, DIR/.lock-<token>       the door of the folder, and one for each command that is at work in it
    DIR/.report.lock                   held by who writes ledger, pairs and report

Every file that is read back is sealed: JSON, inits, checkpoints and pairs hold their seals, the other files of a run
have theirs in ``run.json`` and ``trained.json``. Nothing here is ever unpickled, and nothing here needs torch.
"""
