"""The stages of a run, one file each; ``study.stage`` says what a stage is."""
