"""The folder of the dry run is one that the real loaders take."""

from pathlib import Path

import pytest
import soundfile
import torch

from data.libritts import scan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.transfer.cosyvoice2 import read_llm_pt
from tools.fake_cosyvoice2 import write_fake_llm, write_small_libritts

META = Path(__file__).parents[2] / "assets/mini/meta.lst"


def test_the_language_model_reads_back(tmp_path):
    sizes = BackboneSizes(d_model=32, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=16, d_ff=48)
    torch.manual_seed(0)
    write_fake_llm(tmp_path, sizes, text_vocab=50)
    model = read_llm_pt(tmp_path / "llm.pt", sizes)
    assert (model.text_vocab, model.speech_vocab) == (50, 6561)
    assert [path.name for path in tmp_path.iterdir()] == ["llm.pt"]


def test_the_corpus_is_a_libritts(tmp_path):
    names = write_small_libritts(tmp_path, META, count=4)
    found = scan(tmp_path, ["train-clean-100", "dev-clean"])
    assert sorted(u.name for u in found) == sorted(names) and all(u.text for u in found)
    assert {soundfile.info(u.wav).samplerate for u in found} == {24_000}
    with pytest.raises(ValueError, match="500 are needed"):
        write_small_libritts(tmp_path, META, count=500)
