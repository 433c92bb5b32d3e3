"""Speed and memory of models, measured in turns in one run."""
