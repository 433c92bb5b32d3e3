"""One click on "Speak", without a page: its views, what ends it, and what is wrong with what it was given."""

import numpy as np
import pytest
import soundfile
import torch

from eval.play import show
from eval.play.session import Stops
from eval.play.speaking import MAX_CHARACTERS, pieces_of
from eval.store.files import InputError
from mamtra.text.characters import CharacterTokenizer
from mamtra.text.phonemes import PhonemeTokenizer
from tests.eval.play.conftest import VOICE

TWO = "Go on. Stop it now"


def speak(studio, text=TWO, names=("teacher", "b"), prompt=VOICE, words="hi there", session="s"):
    """All views; each is the same object, so what is asked of them on the way is kept."""
    views = studio.speak(session, list(names), text, prompt and str(prompt), words, 3)
    return [(view.message, view.share, view.fault, view.prompt_text, view) for view in views]


def test_pieces_come_one_by_one_from_every_system(studio):
    rows = speak(studio)
    *_, (message, share, fault, words, view) = rows
    assert (message, share, fault, words) == ("done", 1.0, False, "hi there")
    for column in view.columns:
        assert [clip.text for clip in column.clips] == ["go on.", "stop it now."]
        for clip in column.clips:
            wave, rate_hz = soundfile.read(clip.file)
            assert rate_hz == 16_000 and len(wave) == 640 * len(clip.text)
            assert clip.duration_s == pytest.approx(len(clip.text) / 25)
    shares = [share for _, share, *_ in rows]
    assert shares == sorted(shares) and {0.25, 0.5, 0.75} <= set(shares)
    said = [message for message, *_ in rows]
    assert "b speaks piece 2 of 2: 0.0 s" in said
    assert "stand-in listens to teacher, piece 1 of 2" in said
    # Two of two words, then all three others.
    assert view.columns[0].wer == pytest.approx(3 / 5)


def test_what_is_spoken_is_what_the_command_line_speaks(studio):
    view = speak(studio, names=["b"])[-1][-1]
    tts = studio.systems.synthesizer("b")
    prompt = tts.prompt("hi there", torch.from_numpy(soundfile.read(VOICE, dtype="float32")[0]))
    whole = tts.speak(TWO, prompt, 3, **studio.sampling).wave.numpy()
    waves = [soundfile.read(clip.file, dtype="float32")[0] for clip in view.columns[0].clips]
    # Files have 16 bits.
    np.testing.assert_allclose(np.concatenate(waves), whole, atol=1e-4)


def test_a_prompt_without_words_is_heard_and_its_words_are_shown(studio):
    rows = speak(studio, words=" ")
    assert rows[0][0] == "stand-in listens to the prompt"
    assert rows[-1][3] == "go on" and rows[-1][0] == "done"
    assert studio.transcribe(str(VOICE)) == ("go on", "")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": " \n"}, "there is no text"),
        ({"text": "hello 😀"}, "the text: character '😀' at position 6"),
        ({"text": "привет"}, "the text: character 'п' at position 0"),
        ({"text": "3 tickets & 5 %"}, "the text: character '3'"),
        ({"text": "go on. " * 800}, "the text has 5,600 characters: 5,000 at most"),
        ({"text": "a" * 400}, "of 400 letters is too long"),
        ({"text": "?!"}, "nothing to speak"),
        ({"names": ()}, "no system is chosen"),
        ({"prompt": None}, "there is no prompt"),
        ({"words": "3 tickets"}, "the words of the prompt: character '3'"),
    ],
)
def test_what_is_wrong_is_one_message(studio, given, message):
    *_, (found, _, fault, _, view) = speak(studio, **given)
    assert fault and message in found and "\n" not in found and len(found) < 200
    assert not any(column.clips for column in view.columns)
    assert "fault-message" in show.status(view)


def test_a_prompt_that_is_none_is_one_message(studio, asr, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(32_000), 16_000)
    assert speak(studio, prompt=tmp_path / "silence.wav")[-1][0] == "the prompt is silent"
    assert studio.transcribe(str(tmp_path / "silence.wav")) == ("", "the prompt is silent")
    asr.text = ""
    assert "no words are heard" in speak(studio, words="")[-1][0]


@pytest.mark.parametrize("end", ["stop", "leave", "all"])
def test_who_ends_it_ends_it_at_the_next_token_and_nobody_else(studio, end):
    acts = {"stop": studio.stops.stop, "leave": studio.leave}
    views = studio.speak("s", ["teacher"], "go on. " * 700, str(VOICE), "hi there", 0)
    other = studio.speak("t", ["teacher"], "go on", str(VOICE), "hi there", 0)
    for view in views:
        if view.columns[0].clips:
            acts.get(end, lambda session: studio.stops.stop_all())("s")
            break
    rest = list(views)
    assert rest[-1].message == "stopped" and len(rest[-1].columns[0].clips) <= 1
    assert (list(other)[-1].message == "done") is (end != "all")
    assert studio.folder_of("s").exists() is (end != "leave")


def test_a_session_named_like_a_path_has_a_folder_inside(studio):
    assert studio.folder_of("../..").parent == studio.folder


def test_an_order_to_stop_is_for_what_is_at_work(studio):
    stops = Stops()
    stops.stop("s")
    begun = stops.begin("s")
    assert not begun()
    stops.stop("s")
    assert begun() and not stops.begin("s")()


@pytest.mark.parametrize("frontend", [CharacterTokenizer(), PhonemeTokenizer()])
def test_five_thousand_characters_are_pieces(frontend):
    text = ("we went home, and nobody knew why it came back. " * 120)[:MAX_CHARACTERS]
    assert len(pieces_of(text, frontend)) > 100
    with pytest.raises(InputError, match="5,001 characters"):
        pieces_of(text + "a", frontend)


@pytest.mark.parametrize("text", ["hello 😀", "привет", "日本語", "", "¿", "a" * 5000])
def test_what_phonemes_cannot_read_is_one_message(text):
    with pytest.raises(InputError) as error:
        pieces_of(text, PhonemeTokenizer())
    assert len(str(error.value)) < 200


def test_digits_and_symbols_are_read_by_the_phonemes():
    assert pieces_of("3 tickets & 5 %.", PhonemeTokenizer()) == ["three tickets and five percent."]


def test_the_columns_show_plan_words_and_players_and_escape_what_they_are_given(studio):
    view = speak(studio, names=["b"])[-1][-1]
    page = show.columns(view, lambda file: f"gradio_api/file={file}")
    assert page.count("<audio ") == 2 and str(view.columns[0].clips[0].file) in page
    assert 'class="layer attention"' in page and 'class="layer mamba"' in page
    assert "1 of 2 layers are attention" in page and "WER 60 %" in page
    assert 'class="delete"' in page or 'class="substitute"' in page
    view.columns[0].name = "<b>"
    assert "<b>" not in show.columns(view, str).replace('<div class="plan-head"><b>', "")


def test_the_style_is_for_the_inside_of_one_element():
    style = show.style()
    assert ":root" not in style and ".side-by-side" in style and "--attention" in style
    # gradio reads it as a template of JavaScript and of Handlebars.
    assert not any(mark in style for mark in ("`", "${", "{{"))
