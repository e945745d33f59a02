"""From a study as written to all that will be done, checked before anything is written."""
