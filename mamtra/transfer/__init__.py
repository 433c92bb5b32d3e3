"""Attention teacher to hybrid student: weight transfer and its report."""
