"""Model folders on the Hugging Face hub. Needs the extra `export`; nothing else in the package imports it.

    push_to_hub("runs/x/student", "me/mamtra-1to1")
    model = from_pretrained("me/mamtra-1to1")
    Synthesizer.load(fetch("me/mamtra-1to1"), "assets/mini")

What travels is our own form, `model.safetensors` and `model.json`. `tools.export_hf` makes transformers' form.
"""

from pathlib import Path

import torch

from mamtra.lm.checkpoint import DESCRIPTION, WEIGHTS, CheckpointError, load_lm
from mamtra.lm.speech_lm import SpeechLM

FILES = [WEIGHTS, DESCRIPTION]


def fetch(source: str | Path, revision: str | None = None) -> Path:
    """A model folder on this machine: `source` itself, or what the hub has under `owner/name`, downloaded once.

    Raises CheckpointError for what is neither, and huggingface_hub's errors for a name that it cannot get.
    """
    if Path(source).is_dir():
        return Path(source)
    if not isinstance(source, str) or source.count("/") != 1 or source[0] in "./~":
        raise CheckpointError(f"{source}: neither a folder nor an owner/name on the hub")
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source, revision=revision, allow_patterns=FILES))


def from_pretrained(
    source: str | Path, *, revision: str | None = None, device: torch.device | str = "cpu"
) -> SpeechLM:
    """The model of a folder or of a name on the hub. Errors as `fetch` and `load_lm`."""
    return load_lm(fetch(source, revision), device)


def push_to_hub(folder: str | Path, repository: str, *, private: bool = True) -> str:
    """Uploads a model folder as `owner/name`, made if it is not there; returns the address of the commit.

    Raises CheckpointError, before anything is sent, for a folder that does not load.
    """
    load_lm(folder)
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repository, private=private, exist_ok=True)
    done = api.upload_folder(repo_id=repository, folder_path=str(folder), allow_patterns=FILES)
    return str(done.commit_url)
