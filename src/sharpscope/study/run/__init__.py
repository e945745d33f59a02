"""Carrying out a plan, and telling how it goes."""
