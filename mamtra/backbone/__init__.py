"""Hybrid decoder stack: attention and Mamba-2 layers behind one interface."""
