"""A study as its author wrote it: files and presets, what they extend, and the claims and plugins that they name."""
