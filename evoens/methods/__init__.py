"""Methods: whoever makes a predictor that a run compares on its test split, one file each."""
