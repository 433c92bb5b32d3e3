"""Sequence layout, the speech language model, sampling and generation."""
