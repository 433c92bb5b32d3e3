"""Opinion-score predictors, one file each."""
