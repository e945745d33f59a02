"""The sharpness measures of the literature, one file a family; each measure is one registered function."""
