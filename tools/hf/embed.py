"""Input embeddings of a model that was exported with inputs=embeds. torch and safetensors only.

The stock model's own vocabulary is speech: what it generates. The prompt comes in by `inputs_embeds`:

    inputs = Inputs("folder")
    embeds = inputs.prompt(text_ids, prompt_speech_ids)      # (1, T, D): sos, text, task, prompt speech
    embeds = inputs.speech(token, len(prompt_speech_ids) + n_drawn)  # (1, 1, D): one token more

`inputs.bias` (V + 3,) belongs to the logits. Where `inputs.text_rate` is not 0, every position also carries
progress features (sinusoids of its place in the text, mamtra/lm/progress.py), so that each token drawn has to
come back by `speech`; at 0 it may as well go in as `input_ids`.
"""

from pathlib import Path

import torch
from safetensors import safe_open

SOS, TASK = 0, 1
FASTEST, SLOWEST = 1.0, 0.01  # radians per text unit


class Inputs:
    """Tables of one exported folder."""

    def __init__(self, folder):
        with safe_open(str(Path(folder) / "mamtra.safetensors"), framework="pt") as stream:
            self.text_rate = float(stream.metadata()["text_rate"])
            self._tables = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        with safe_open(str(Path(folder) / "model.safetensors"), framework="pt") as stream:
            self._tables["speech"] = stream.get_tensor("model.embed_tokens.weight").float()
        self.bias = self._tables["llm_decoder.bias"]

    def prompt(self, text_ids, speech_ids):
        """(1, L + S + 2, D) of [sos, text, task, speech]."""
        special = self._tables["llm_embedding.weight"]
        text = self._tables["text_embedding.weight"][list(text_ids)]
        text = text + self._progress(torch.arange(len(text_ids)).float())
        parts = (special[SOS][None], text, special[TASK][None], self._spoken(speech_ids, 0))
        return torch.cat(parts)[None]

    def speech(self, token, n_before):
        """(1, 1, D) of one speech token, the prompt's and the drawn ones before it counted."""
        return self._spoken([token], n_before)[None]

    def _spoken(self, ids, n_before):
        positions = n_before + 1 + torch.arange(len(ids))
        rows = self._tables["speech"][list(ids)]
        return rows + self._progress(positions * self.text_rate)

    def _progress(self, positions):
        """(T,) positions in text units -> (T, D), or 0 for a model without them."""
        if not self.text_rate:
            return 0.0
        width = self._tables["text_embedding.weight"].shape[1]
        steps = torch.linspace(0.0, 1.0, width // 2)
        angles = positions[:, None] * (FASTEST * (SLOWEST / FASTEST) ** steps)
        return self._tables["progress_scale"] * torch.cat((angles.sin(), angles.cos()), dim=-1)
