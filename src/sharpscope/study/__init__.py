"""The study engine: from a YAML file to a folder of runs that can be stopped at any moment and goes on from there."""
