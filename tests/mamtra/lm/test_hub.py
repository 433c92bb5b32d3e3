"""Model folders to the hub and back, the hub replaced by a folder."""

import shutil
from types import SimpleNamespace

import pytest
import torch

from mamtra.lm.checkpoint import DESCRIPTION, WEIGHTS, CheckpointError, save_lm
from mamtra.lm.hub import fetch, from_pretrained, push_to_hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in for huggingface_hub that keeps repositories below a folder."""
    library = pytest.importorskip("huggingface_hub")
    home = tmp_path / "hub"

    class Api:
        def create_repo(self, repository, private, exist_ok):
            (home / repository).mkdir(parents=True, exist_ok=exist_ok)
            (home / repository / "private").write_text(str(private))

        def upload_folder(self, repo_id, folder_path, allow_patterns):
            for name in allow_patterns:
                shutil.copyfile(f"{folder_path}/{name}", home / repo_id / name)
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}")

    def download(repository, revision, allow_patterns):
        assert sorted(allow_patterns) == [DESCRIPTION, WEIGHTS]
        return str(home / repository)

    monkeypatch.setattr(library, "HfApi", Api)
    monkeypatch.setattr(library, "snapshot_download", download)
    return home


def test_there_and_back(model, tmp_path, hub):
    folder = save_lm(tmp_path / "student", model, {})
    (folder / "notes.txt").write_text("stays here")
    assert push_to_hub(folder, "me/student") == "https://hub/me/student"
    assert (hub / "me/student/private").read_text() == "True"
    assert not (hub / "me/student/notes.txt").exists()
    for source in (folder, str(folder), "me/student"):
        back = from_pretrained(source).state_dict()
        assert all(torch.equal(back[name], value) for name, value in model.state_dict().items())


def test_a_broken_folder_is_not_sent(model, tmp_path, hub):
    folder = save_lm(tmp_path / "student", model, {})
    (folder / WEIGHTS).write_bytes(b"x")
    with pytest.raises(CheckpointError):
        push_to_hub(folder, "me/student")
    assert not hub.exists()


@pytest.mark.parametrize("source", ["student", "./me/student", "/me/student", "runs/x/student"])
def test_a_path_that_is_not_there_does_not_go_to_the_hub(source, hub):
    with pytest.raises(CheckpointError, match="neither a folder nor"):
        fetch(source)
