"""The command that lets a teacher speak free texts, with a tiny teacher that knows how to stop."""

import json
import sys

import pandas as pd
import pytest
import torch

from data import teacher_generated
from data.teacher_generated import main, plan, row_seed, speak
from data.tokens import COLUMNS, read_token_table
from mamtra.lm.checkpoint import load_lm, save_lm
from mamtra.lm.generate import generate_batch
from mamtra.lm.sequence import eos_id
from mamtra.text.characters import CharacterTokenizer
from tests.data.in_this_process import in_this_process

READER = CharacterTokenizer()


def save_teacher(tiny_world, folder, stops: float) -> None:
    """The tiny teacher with so much more of a mind to stop."""
    lm = load_lm(tiny_world / "teacher")
    with torch.no_grad():
        lm.llm_decoder.bias[eos_id(lm.speech_vocab) :] += stops
    save_lm(folder, lm, {})


@pytest.fixture
def world(tiny_world, tmp_path, monkeypatch):
    """What the command reads, as its arguments; shards of four rows."""
    monkeypatch.setattr(teacher_generated, "worker_processes", in_this_process)
    monkeypatch.setattr(teacher_generated, "SHARD", 4)
    save_teacher(tiny_world, tmp_path / "teacher", 2.0)
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"this is text {'abcdefghij'[i]}\n" for i in range(10)))
    places = {"teacher": tmp_path / "teacher", "tokens": tiny_world / "tokens.parquet"}
    return places | {"codec": tiny_world, "texts": str(texts), "batch": 3, "workers": 1}


def test_the_table_is_one_to_train_on(world, tmp_path):
    report = speak(**world, out=tmp_path / "out.parquet")
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert tuple(frame.columns) == COLUMNS and set(frame["split"]) == {"train"}
    table = read_token_table(tmp_path / "out.parquet", "train", READER, 1000)
    assert table.alignments is None and set(table.voices) <= {"v0", "v1"}
    assert frame["text"].str.fullmatch(r"this is text [a-j]\.").all()
    assert report == json.loads((tmp_path / "out.json").read_text())
    assert report["rows"] == 10 == report["kept"] + sum(report["left_out"].values())
    assert report["kept"] == len(frame) > 0 and report["tokens"] == sum(map(len, frame["tokens"]))


def test_a_row_is_what_its_prompt_and_name_make_it(world, tmp_path):
    speak(**world, out=tmp_path / "out.parquet")
    frame = pd.read_parquet(tmp_path / "out.parquet").set_index("utterance")
    name = frame.index[-1]
    parts = sorted((tmp_path / "out.parts").glob("*.parquet"))
    said = pd.concat([pd.read_parquet(path) for path in parts]).set_index("utterance")
    recordings = pd.read_parquet(world["tokens"]).set_index("utterance")
    prompt = recordings.loc[said.loc[name, "prompt"]]
    assert prompt["split"] == "train" and prompt["voice"] == frame.loc[name, "voice"]
    text = READER.encode(frame.loc[name, "text"])
    [alone] = generate_batch(
        load_lm(world["teacher"]),
        [[*READER.encode(prompt["text"]), *text]],
        [torch.tensor(prompt["tokens"].tolist())],
        [torch.Generator().manual_seed(row_seed(name, 0))],
        target_lengths=[len(text)],
    )
    assert alone.tokens == frame.loc[name, "tokens"].tolist()


def test_stopped_and_continued_gives_the_same_bytes(world, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole.parquet", tmp_path / "parts.parquet"
    speak(**world, out=whole)
    calls = []

    def stop(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:  # in the second of three shards
            raise KeyboardInterrupt
        return generate_batch(*arguments, **options)

    monkeypatch.setattr(teacher_generated, "generate_batch", stop)
    with pytest.raises(KeyboardInterrupt):
        speak(**world, out=parts)
    assert [p.name for p in sorted((tmp_path / "parts.parts").glob("*.parquet"))] == [
        "00000.parquet"
    ]
    assert not parts.exists()
    speak(**world, out=parts)
    assert len(calls) == 2 + 2  # the first shard is not spoken again
    assert whole.read_bytes() == parts.read_bytes()
    assert whole.with_suffix(".json").read_bytes() == parts.with_suffix(".json").read_bytes()


def test_more_rows_go_on_and_read_the_texts_again(world, tmp_path):
    short, long = tmp_path / "short.parquet", tmp_path / "long.parquet"
    speak(**world, out=short, rows=6)
    grown = speak(**world, out=short, rows=14)
    assert grown == speak(**world, out=long, rows=14) and grown["rows"] == 14
    assert short.read_bytes() == long.read_bytes()


def test_neither_another_seed_nor_another_teacher_goes_on(world, tiny_world, tmp_path):
    out = tmp_path / "out.parquet"
    speak(**world, out=out, rows=4)
    with pytest.raises(
        ValueError, match=r"out\.parts was made with other seed \(made_of\.json\): delete it"
    ):
        speak(**world, out=out, rows=4, seed=1)
    with pytest.raises(ValueError, match="with other teacher_sha256"):
        speak(**{**world, "teacher": tiny_world / "teacher"}, out=out, rows=4)


def test_a_part_of_another_plan_is_refused(world, tmp_path):
    out = tmp_path / "out.parquet"
    speak(**world, out=out, rows=4)
    part = tmp_path / "out.parts/00000.parquet"
    pd.read_parquet(part).assign(text="another.").to_parquet(part, index=False)
    with pytest.raises(ValueError, match="another plan"):
        speak(**world, out=out, rows=4)


def test_a_teacher_that_never_stops_leaves_nothing(world, tiny_world, tmp_path):
    save_teacher(tiny_world, world["teacher"], -50.0)
    with pytest.raises(ValueError, match=r"no utterance is fit .*'limit'"):
        speak(**world, out=tmp_path / "out.parquet", rows=2)


def test_a_row_of_the_plan_depends_on_its_number_alone(tiny_world):
    table = pd.read_parquet(tiny_world / "tokens.parquet")
    few, many = plan(["a."], table, 3, 0), plan(["a."], table, 9, 0)
    assert [row.prompt for row in few] == [row.prompt for row in many[:3]]
    assert len({row.prompt for row in many}) > 3
    assert [row.prompt for row in plan(["a."], table, 9, 1)] != [row.prompt for row in many]
    assert len({row_seed(name, seed) for name in "ab" for seed in (0, 1)}) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("tokens=nowhere.parquet",), "nowhere.parquet does not exist"),
        (("teacher=nowhere",), "nowhere"),
        (("codec=nowhere",), "no codec in nowhere"),
        (("texts=nowhere.txt",), "neither a file nor one of corpus"),
        (("rows=0",), "rows must be at least 1"),
        (("rows=many",), "many"),
    ],
)
def test_bad_input_is_one_line(world, changes, message, monkeypatch, tmp_path):
    given = {**world, "out": tmp_path / "out.parquet", "rows": 4}
    given |= dict(change.split("=") for change in changes)
    words = [f"{name}={value}" for name, value in given.items()]
    monkeypatch.setattr(sys, "argv", ["teacher_generated", *words])
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        main()
    assert not list(tmp_path.glob("out*"))


def test_a_teacher_of_another_system_is_refused(world, tmp_path, tiny_world):
    frontend = tmp_path / "codec"
    frontend.mkdir()
    for name in ("codec.safetensors", "codec.json"):
        (frontend / name).write_bytes((tiny_world / name).read_bytes())
    described = json.loads((frontend / "codec.json").read_text())
    (frontend / "codec.json").write_text(json.dumps(described | {"text": "phonemes"}))
    with pytest.raises(ValueError, match=r"reads 32 text tokens .* makes 59"):
        speak(**{**world, "codec": frontend}, out=tmp_path / "out.parquet")
