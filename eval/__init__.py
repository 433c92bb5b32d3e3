"""Evaluation: test set -> synthesis -> scores -> report. Stages meet on disk."""
