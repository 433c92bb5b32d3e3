"""Training glue around the plain-PyTorch models of `mamtra`: steps, losses, optimisers,
callbacks."""
