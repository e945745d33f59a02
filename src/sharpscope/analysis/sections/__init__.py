"""The sections of the report, a folder each: what the page shows (``data``), a figure, a table, and the template.

A section reads the evidence alone, so each can be written, tested and left out without the others.
"""
