"""README.md of an exported folder: what it is and how it is spoken with, as code that a test runs."""

from mamtra.backbone.layer_plan import ATTENTION, plan_letters
from mamtra.lm.sequence import N_EXTRA
from mamtra.lm.speech_lm import SpeechLM
from tools.hf.files import IDS

HEAD = """---
library_name: transformers
pipeline_tag: text-to-speech
tags: [mamtra]
---
# A speech language model in the form of GraniteMoeHybrid

Text and a voice prompt's speech tokens in, speech tokens out; a codec makes the waveform. Layers: `{plan}`.
Exported by [MamTra](https://arxiv.org/abs/2603.12342)'s `tools.export_hf`; `mamtra.json` says of what.
`golden.safetensors` holds inputs, every layer's outputs and the states after 300 steps: for ports to compare.

- The head's bias is not in the architecture: it is `sequence_bias` in `generation_config.json` and
  `llm_decoder.bias` in `mamtra.safetensors`. Raw logits lack it.
- `generate` alone has no repetition-aware sampling, and its nucleus is another (`top_k` cuts before `top_p`):
  without `sampler.py`, speech may loop until the length limit.
- The tokenizer reads {reads}.
"""
NO_ATTENTION = """- No layer is attention: transformers 5.23 then needs `position_ids` and
  `attention_mask={"full_attention": None, "linear_attention": None}` in every call that uses a cache, and
  `generate` works with `use_cache=False` only.
"""
SPEAK_IDS = """
```python
import numpy as np
import torch
from sampler import draw
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessor

FIRST, CODES = {first}, {codes}  # id of <|s_0|>, number of codes; then <|eos1|> to <|eos3|>
model = AutoModelForCausalLM.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")


class RepetitionAware(LogitsProcessor):
    def __init__(self, n_prompt, fewest, seed):
        self.n_prompt, self.fewest, self.rng = n_prompt, fewest, np.random.default_rng(seed)

    def __call__(self, input_ids, scores):
        tokens = (input_ids[0, self.n_prompt :] - FIRST).tolist()
        logits = scores[0, FIRST : FIRST + CODES + 3].numpy().copy()
        if len(tokens) < self.fewest:
            logits[CODES:] = -np.inf
        scores = torch.full_like(scores, -torch.inf)
        scores[0, FIRST + draw(logits, tokens, self.rng.random(2))] = 0.0
        return scores


def ids(*parts):
    return [i for part in parts for i in tokenizer(part, add_special_tokens=False).input_ids]


def speak(prompt_text, text, prompt_speech, fewest, most, seed=0):
    spoken = "".join(f"<|s_{{i}}|>" for i in prompt_speech)
    prompt = torch.tensor([ids("<|sos|>", prompt_text, text, "<|task_id|>", spoken)])
    chosen = RepetitionAware(prompt.shape[1], fewest, seed)
    found = model.generate(
        prompt, do_sample=False, max_new_tokens=most, logits_processor=[chosen]
    )
    tokens = found[0, prompt.shape[1] :] - FIRST
    return tokens[tokens < CODES].tolist()
```
"""
SPEAK_EMBEDS = """
The vocabulary is speech alone: {codes} codes, then eos1 to eos3. Text comes in as embeddings, which `embed.py`
makes of the tables in `mamtra.safetensors`.{progress}

```python
import numpy as np
import torch
from embed import Inputs
from sampler import draw, looping
from transformers import AutoModelForCausalLM, AutoTokenizer

CODES = {codes}
model = AutoModelForCausalLM.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")
inputs = Inputs(".")


@torch.inference_mode()
def speak(prompt_text, text, prompt_speech, fewest, most, seed=0):
    ids = [i for part in (prompt_text, text) for i in tokenizer(part).input_ids]
    embeds = inputs.prompt(ids, prompt_speech)
    rng, tokens, cache = np.random.default_rng(seed), [], None
    while len(tokens) < most and not looping(tokens):
        out = model(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        logits = (out.logits[0, -1] + inputs.bias).numpy()
        if len(tokens) < fewest:
            logits[CODES:] = -np.inf
        token = draw(logits, tokens, rng.random(2))
        if token >= CODES:
            break
        embeds = inputs.speech(token, len(prompt_speech) + len(tokens))
        tokens.append(token)
    return tokens
```
"""
PROGRESS = """ This model adds progress features to every
position (text_rate={text_rate}), so every token has to come back as an embedding: `generate`, and runtimes that
take embeddings for the prompt alone, compute something else."""


def card(lm: SpeechLM, inputs: str, speech: slice, reads: str) -> str:
    """The text. speech: rows of the vocabulary; reads: what the tokenizer takes."""
    codes = speech.stop - speech.start - N_EXTRA
    head = HEAD.format(plan=plan_letters(lm.plan), reads=reads)
    head += "" if ATTENTION in lm.plan else NO_ATTENTION
    if inputs == IDS:
        return head + SPEAK_IDS.format(first=speech.start, codes=codes)
    rate = lm.sizes.text_rate
    progress = PROGRESS.format(text_rate=rate) if rate else ""
    return head + SPEAK_EMBEDS.format(codes=codes, progress=progress)
