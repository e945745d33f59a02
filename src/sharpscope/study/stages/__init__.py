"""The stages of a run, one file each; ``study.work.stage`` says what a stage is."""
