"""The leaderboard backend on the shipped models: manifest and wavs in its form, and what it refuses."""

import json
from pathlib import Path

import pytest
import soundfile

from tools.open_tts.run_eval import main, parse, read_samples

ASSETS = Path(__file__).parents[2] / "assets/mini"
GIVEN = ["--model_id=me/teacher", f"--model={ASSETS}/teacher", f"--system={ASSETS}"]
PROMPT = ASSETS / "prompts/prompt-v07-0.flac"
PROMPT_TEXT = "our polite child carefully lost your computer"


def samples(tmp_path, *rows):
    path = tmp_path / "mine.jsonl"
    prompt = {"prompt_text": PROMPT_TEXT, "prompt_audio_filepath": str(PROMPT)}
    path.write_text("".join(json.dumps({**prompt, **row}) + "\n" for row in rows))
    return path


@pytest.mark.weights
def test_wavs_and_manifest(tmp_path):
    given = samples(
        tmp_path, {"id": "a", "text": "my brother painted the old bridge"}, {"text": "we walked"}
    )
    main([*GIVEN, f"--input_jsonl={given}", f"--out={tmp_path}", "--warmup_steps=0"])
    folder = tmp_path / "me-teacher"
    manifest = folder / "MODEL_me-teacher_DATASET_mine_voice_clone.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [row["text"] for row in rows] == ["my brother painted the old bridge", "we walked"]
    for row in rows:
        wave, rate_hz = soundfile.read(folder / row["audio_filepath"])
        assert row["duration"] == len(wave) / rate_hz and row["time"] > 0 and row["pred_text"] == ""
        assert (folder / row["prompt_audio_filepath"]).is_file()


@pytest.mark.weights
def test_the_probe_times_the_first_chunk(tmp_path, capsys):
    given = samples(tmp_path, *({"id": str(i), "text": "we walked"} for i in range(5)))
    main([*GIVEN, f"--input_jsonl={given}", f"--out={tmp_path}", "--ttfa_probe=2"])
    found = json.loads(capsys.readouterr().out)
    assert found["n_samples"] == 2 and 0 < found["p50"] <= found["p90"] <= found["p95"]


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([{"id": "../a", "text": "x"}], "is no file name"),
        ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], "comes twice"),
        ([{"id": "a", "text": "  "}], "has no text"),
    ],
)
def test_bad_samples_are_named(tmp_path, rows, fault):
    with pytest.raises(ValueError, match=fault):
        read_samples(parse([*GIVEN, f"--input_jsonl={samples(tmp_path, *rows)}"]))


def test_a_voice_and_samples_are_needed(tmp_path, capsys):
    for wrong in (
        ["--no-voice_clone", "--input_jsonl=x"],
        [],
        ["--input_jsonl=x", "--dataset_path=y"],
    ):
        with pytest.raises(SystemExit):
            parse([*GIVEN, *wrong])
