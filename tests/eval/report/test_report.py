"""The report page: self-contained, escaped, with players, and without errors in a browser."""

import base64
import html.parser
import io
import re

import numpy as np
import pytest
import soundfile

from eval.analysis.summary import adjusted, leaderboard_line, line_against
from eval.report.curves import curves_svg, read_curves
from eval.report.html import audio_data_uri
from eval.report.page import SystemResult, write_report
from eval.report.recipes import facts_of
from eval.store.evaluations import read_evaluation
from tests.browser import in_browser
from tests.eval.made_up import RECIPES, WER_RECIPE, scored_row, store_system

EVIL = '<script>alert("x")</script> & co'


def rows_of(fault: str) -> list[dict]:
    """Three sentences with one wrong word each, as two recognisers hear it."""
    rows = []
    for i in range(3):
        text, heard = f"say {EVIL} now", f"say {EVIL} wow"
        n = len(text.split())
        second = {"substitutions": 0, "deletions": 1, "insertions": 0, "reference_words": n}
        rows.append(
            scored_row(
                f"u{i}",
                text=text,
                transcript=heard,
                substitutions=1,
                wer=1 / n,
                reference_words=n,
                guarded_errors=1,
                fault_class=fault,
                failures={"sim": f"ValueError: prompt {EVIL}"},
                voice=f"v{i}",
                hearings={"base.en": {"transcript": f"say {EVIL}", **second}},
            )
        )
    return rows


@pytest.fixture
def page(tmp_path):
    recipes = RECIPES | {"wer:base.en": WER_RECIPE | {"recogniser": {"tool": EVIL}}}
    plans = {"teacher": ["attention"] * 4, "[b]stu&<i>dent": ["attention", "mamba"] * 2}
    for (name, plan), fault in zip(plans.items(), ("substituted", "loop"), strict=True):
        card = {"layer_plan": plan, "n_parameters": 1000, "ce": 3.0, "ce_shuffled": 4.5}
        store_system(tmp_path / "e", name, rows_of(fault), recipes=recipes, card=card, wav_hz=300)
    systems = read_evaluation(tmp_path / "e")
    base, other = systems
    lines = [leaderboard_line(one.name, one.card, one.rows) for one in systems]
    lines[1] = line_against(lines[1], other.rows, base.name, base.rows)
    metrics = tmp_path / "metrics.csv"
    metrics.write_text("step,loss,ce,val_loss\n10,3.0,2.0,\n20,2.5,1.5,\n20,,,2.4\n")
    svg = curves_svg(read_curves(metrics))
    results = [
        SystemResult(line, one, svg, f"{metrics}<b>")
        for line, one in zip(adjusted(lines), systems, strict=True)
    ]
    return write_report(results, tmp_path, title=EVIL, n_examples=2)[2]


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def tags_of(page):
    parser = Tags()
    parser.feed(page.read_text())
    return parser.found


def test_text_from_data_is_escaped(page):
    content = page.read_text()
    assert 'alert("x")</script>' not in content and "<i>dent" not in content
    assert "&lt;script&gt;" in content and "metrics.csv<b>" not in content
    assert not [tag for tag, _ in tags_of(page) if tag == "script"]


def test_nothing_is_loaded_from_elsewhere(page):
    for tag, attributes in tags_of(page):
        for name in ("src", "href", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value)
    assert not re.search(r"url\((?!['\"]?(#|data:))|@import", page.read_text())


def test_every_player_has_a_source_a_class_and_what_both_recognisers_heard(page):
    sources = [a.get("src") for tag, a in tags_of(page) if tag == "audio"]
    assert len(sources) == 4 and all(s.startswith("data:audio/") for s in sources)
    content = page.read_text()
    listen = content[content.index('id="listen"') :]
    assert listen.count('class="fault fault-substituted">other words') == 2
    assert listen.count('class="fault fault-loop">loop') == 2
    assert listen.count('title="instead of: now">wow</span>') == 4
    assert listen.count('<span class="delete" title="missing">now</span>') == 4
    assert listen.count("no sim</span>") == 4
    assert listen.count("base.en, WER") == 4 and "<svg" in content


def test_how_many_sentences_and_voices_and_how_sure(page):
    content = page.read_text()
    assert "3 utterances of 3 voices" in content and "over voices" in content
    assert "Holm" in content and "settled when its interval" not in content
    assert "tokens/s" not in content and "RTF" not in content
    assert "LUFS" in content and "words/s" in content
    shares = content[content.index('id="faults"') : content.index('id="listen"')]
    assert re.search(r"<td>100\.0 \[[\d.]+, 100\.0\]</td>", shares)


def test_facts_are_those_of_each_system_and_not_of_the_first(tmp_path):
    store_system(tmp_path, "a", [scored_row("u")])
    other = {name: recipe for name, recipe in RECIPES.items() if name != "mos"}
    other["sim"] = {"tool": "wavlm"}
    store_system(tmp_path, "b", [scored_row("u")], recipes=other)
    facts = facts_of(read_evaluation(tmp_path))
    assert facts["profile"] == "whisper" and facts["WER"] == "faster-whisper tiny.en"
    assert "faults" not in facts and "wer_guarded" not in facts, "WER's own recogniser and rules"
    assert facts["SIM"] == "ge2e (a); wavlm (b)"
    assert facts["MOS"] == "distillmos (a); none (b)"


@pytest.mark.parametrize(
    ("form", "rate_hz", "channels"),
    [("FLAC", 24_000, 1), ("MP3", 24_000, 1), ("MP3", 96_000, 10), ("FLAC", 7_000, 2)],
)
def test_float_wavs_of_any_rate_are_heard(form, rate_hz, channels, tmp_path):
    tone = 0.3 * np.sin(0.02 * np.arange(rate_hz))
    path = tmp_path / "f.wav"
    soundfile.write(path, np.stack([tone] * channels, axis=1), rate_hz, subtype="FLOAT")
    content = base64.b64decode(audio_data_uri(path, form).split(",")[1])
    heard, _ = soundfile.read(io.BytesIO(content))
    assert np.abs(heard).max() == pytest.approx(0.3, abs=0.05)
    assert audio_data_uri(tmp_path / "none.wav") is None


def test_tables_hold_the_numbers(page):
    csv = page.with_name("leaderboard.csv").read_text()
    assert "teacher" in csv and csv.count("\n") == 3
    assert "|" in page.with_name("leaderboard.md").read_text()


def test_opens_in_a_browser_without_console_errors(page, tmp_path):
    script = """
    const players = [...document.querySelectorAll("audio")];
    await Promise.all(players.map(a => a.readyState >= 1 || new Promise(done => a.onloadedmetadata = done)));
    return {seconds: players.map(a => a.duration), wide: document.documentElement.scrollWidth};
    """
    found = in_browser(page, script, tmp_path / "profile")
    assert found["seconds"] == pytest.approx([1.0] * 4, abs=0.01) and found["wide"] <= 1280
    phone = in_browser(page, "return document.documentElement.scrollWidth", tmp_path / "p", 420)
    assert phone <= 500
