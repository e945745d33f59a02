"""The datasets, one file each, with what several of their readers share."""
