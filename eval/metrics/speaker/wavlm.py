"""Speaker similarity as seed-tts-eval measures it: WavLM-large under an ECAPA-TDNN head, fine-tuned for speaker
verification (UniSpeech, `wavlm_large_finetune.pth`). N samples, E = 256 embedding width.

WavLM itself is transformers'; the head is the one of UniSpeech's speaker_verification/models/ecapa_tdnn.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.metrics.speaker.encoder import SpeakerEncoder
from eval.metrics.weights import Unavailable, code_sha256, require, revision, tool

if TYPE_CHECKING:
    from torch import Tensor

    from eval.metrics.speaker.ecapa_head import WavLMVerifier

# transformers' names of WavLM-large's sizes (microsoft/wavlm-large).
LARGE: Mapping[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "num_buckets": 320,
    "max_bucket_distance": 800,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": False,
}
# Of training only: the classifier over the training speakers.
LEFT_OUT = {"loss_calculator.projection.weight"}
_HOW = (
    "Give the file wavlm_large_finetune.pth that seed-tts-eval's README links: speaker=wavlm:<file>"
)

_LAYER = r"encoder\.layers\.(\d+)\."
# fairseq's names inside the checkpoint -> transformers'.
_NAMES = (
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (
        r"feature_extractor\.conv_layers\.(\d+)\.2\.1\.",
        r"feature_extractor.conv_layers.\1.layer_norm.",
    ),
    (r"post_extract_proj\.", r"feature_projection.projection."),
    (r"layer_norm\.", r"feature_projection.layer_norm."),
    (r"mask_emb", r"masked_spec_embed"),
    (
        r"encoder\.pos_conv\.0\.weight_g",
        r"encoder.pos_conv_embed.conv.parametrizations.weight.original0",
    ),
    (
        r"encoder\.pos_conv\.0\.weight_v",
        r"encoder.pos_conv_embed.conv.parametrizations.weight.original1",
    ),
    (r"encoder\.pos_conv\.0\.", r"encoder.pos_conv_embed.conv."),
    (_LAYER + r"self_attn\.grep_linear\.", r"encoder.layers.\1.attention.gru_rel_pos_linear."),
    (_LAYER + r"self_attn\.grep_a", r"encoder.layers.\1.attention.gru_rel_pos_const"),
    (
        _LAYER + r"self_attn\.relative_attention_bias\.",
        r"encoder.layers.\1.attention.rel_attn_embed.",
    ),
    (_LAYER + r"self_attn\.", r"encoder.layers.\1.attention."),
    (_LAYER + r"self_attn_layer_norm\.", r"encoder.layers.\1.layer_norm."),
    (_LAYER + r"fc1\.", r"encoder.layers.\1.feed_forward.intermediate_dense."),
    (_LAYER + r"fc2\.", r"encoder.layers.\1.feed_forward.output_dense."),
)
_INSIDE = "feature_extract.model."


def our_name(name: str) -> str:
    """A tensor's name in the checkpoint -> its name here. The head's names are the same."""
    if not name.startswith(_INSIDE):
        return name
    name = name.removeprefix(_INSIDE)
    for pattern, replacement in _NAMES:
        renamed, hits = re.subn("^" + pattern, replacement, name)
        if hits:
            return "wavlm." + renamed
    return "wavlm." + name


class WavLMSpeaker(SpeakerEncoder):
    """Embeds 16 kHz audio one clip at a time. `checkpoint`: the file `wavlm_large_finetune.pth`."""

    def __init__(
        self, checkpoint: str | Path, device: str = "cpu", sizes: Mapping[str, Any] = LARGE
    ) -> None:
        self.checkpoint, self.device, self.sizes = Path(checkpoint), device, sizes
        self._network: WavLMVerifier | None = None
        self._revision = revision(self.checkpoint)

    @property
    def recipe(self) -> dict[str, Any]:
        used = {"tool": "wavlm-large-sv", "transformers": tool("transformers")}
        head = str(Path(__file__).with_name("ecapa_head.py"))
        return {**used, "weights": self._revision, "code": code_sha256(__file__, head)}

    def check(self) -> None:
        require("speaker=wavlm", "transformers")
        if not self.checkpoint.is_file():
            raise Unavailable(f"cannot read {str(self.checkpoint)!r}: no such file. {_HOW}")

    def embed(self, wave: np.ndarray) -> np.ndarray:
        """(N,) float32 mono at 16 kHz -> (E,) float32 of length 1.

        Raises:
            Unavailable: the checkpoint is missing, or is not that of this network.
        """
        import torch

        if self._network is None:
            self._network = self._load()
        with torch.inference_mode():
            found = self._network(torch.from_numpy(wave).to(self.device)[None])[0].cpu()
        return (found / found.norm()).numpy()

    def _load(self) -> WavLMVerifier:
        from transformers import WavLMConfig

        from eval.metrics.speaker.ecapa_head import WavLMVerifier

        network = WavLMVerifier(WavLMConfig(**self.sizes))
        try:
            # Strict, unlike upstream's own loader: it would go on with random weights.
            network.load_state_dict(self._read())
        except RuntimeError as error:
            raise Unavailable(
                f"{self.checkpoint} is not wavlm_large_finetune.pth of seed-tts-eval: {error}"
            ) from error
        return network.to(self.device).eval()

    def _read(self) -> dict[str, Tensor]:
        import torch

        try:
            content = torch.load(self.checkpoint, map_location="cpu", weights_only=True)["model"]
            return {
                our_name(name): value for name, value in content.items() if name not in LEFT_OUT
            }
        except Exception as error:  # unpickling damage raises every kind of exception
            raise Unavailable(
                f"cannot read {str(self.checkpoint)!r}: {type(error).__name__}: {error}. {_HOW}"
            ) from error
