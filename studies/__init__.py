"""Experiments over many systems: the ablation grid, its tables and figures."""
