"""What the dry run of MambaVoiceCloning at paper scale starts from."""

from collections import Counter

from data.public_corpora import ljspeech
from eval.testset import read_meta
from tools.fake_ljspeech import make


def test_it_has_recordings_of_training_and_validation_and_a_list(tmp_path):
    make(tmp_path)
    found = list(ljspeech(tmp_path / "LJSpeech-1.1"))
    splits = Counter(one.split for one in found)
    assert splits["valid"] == 3 and splits["train"] > 20 and splits["test"] == 0
    assert len({one.utterance for one in found}) == len(found)
    assert all(one.path.is_file() and one.text for one in found)
    assert len(read_meta(tmp_path / "meta.lst")) == 2
