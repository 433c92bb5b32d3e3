"""The model: plain PyTorch, no Lightning, no Hydra, no configuration objects."""
