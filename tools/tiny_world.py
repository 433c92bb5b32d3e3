"""A whole small world on disk: codec, teacher, tokens, prompts and a test list, all untrained.

Tests and `make chaos` train, speak and score with it in place of assets/mini.
"""

import random
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch

from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import save_lm
from mamtra.lm.speech_lm import SpeechLM
from mamtra.speech.codec import CodecNetwork
from mamtra.speech.mini_codec import MiniCodec, save_codec
from mamtra.speech.vocoder import Vocoder
from mamtra.text.characters import CharacterTokenizer

CODES = 1000


def make(folder: Path) -> Path:
    """Fills a folder that can stand for assets/mini: `paths.assets=`, `system.codec=`, `testset.meta=`."""
    torch.manual_seed(0)
    network = {"width": 8, "fine_width": 8, "levels": [8, 5, 5, 5]}
    network |= {"n_encoder_blocks": 1, "n_decoder_blocks": 1, "n_fine_blocks": 1}
    vocoder = {"width": 8, "n_blocks": 1}
    codec = MiniCodec(CodecNetwork(**network), Vocoder(**vocoder))
    save_codec(folder, codec, {"network": network, "vocoder": vocoder}, {})
    sizes = BackboneSizes(
        d_model=16, n_layers=4, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=16, text_rate=0.75
    )
    lm = SpeechLM(sizes, ("attention",) * 4, CharacterTokenizer().vocab_size, CODES)
    save_lm(folder / "teacher", lm, {})
    rng, rows = random.Random(0), []
    for i in range(30):
        tokens = [rng.randrange(CODES) for _ in range(rng.randint(5, 20))]
        split = "valid" if i < 6 else "train"
        rows.append((f"u{i}", split, "some text", f"v{i % 2}", tokens))
    for voice in ("t0", "t1"):
        for name, split in (("prompt", "prompt"), ("one", "test"), ("two", "test")):
            rows.append((f"{name}-{voice}", split, f"say {name}", voice, [1, 2, 3, 4]))
    columns = ["utterance", "split", "text", "voice", "tokens"]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "tokens.parquet")
    noise = np.random.default_rng(0)
    for voice in ("t0", "t1"):
        soundfile.write(folder / f"{voice}.wav", 0.1 * noise.standard_normal(16000), 16000)
    lines = ["one-t0|say prompt|t0.wav|say one", "one-t1|say prompt|t1.wav|say one"]
    (folder / "meta.lst").write_text("\n".join(lines) + "\n")
    return folder
