"""A language model of ours as a folder that transformers loads: what `tools.export_hf` writes, part by part."""
