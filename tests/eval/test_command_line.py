"""evaluate.py's command line: free text as the shell passes it, keys of a stage, their help, its processes."""

import os
import signal

import pytest
import yaml
from hydra import compose, initialize_config_dir
from rich.console import Console

import evaluate
from eval.command_line import (
    CONFIGS,
    check_keys,
    help_of,
    parts_of,
    put_literals,
    split_literals,
)
from eval.scoring import scorers
from eval.stages import STAGES, Evaluation
from eval.store.files import InputError
from settings import typed_settings


def settings_of(*arguments: str):
    """What a stage is given for the arguments of a shell."""
    check_keys(arguments)
    read, literal = split_literals(arguments)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("evaluate", overrides=read)
    put_literals(config, literal)
    return typed_settings(STAGES[config.stage][0], config)


@pytest.mark.parametrize(
    "text",
    [
        "Hello, world",
        "It's [hers] {not} his",
        'she said "no", twice = 2',
        "a\u00a0no-break and a zero\u200bwidth space",
        "${not.an.interpolation} $5",
        "back\\slash, (brackets) # and %",
        "5",
        "true",
    ],
)
def test_free_text_is_taken_as_it_is(text):
    s = settings_of(f"text={text}", f"name={text}", f"prompt=/a, b/{text}.wav", f"title={text}")
    assert (s.text, s.name, s.title, s.prompt) == (text, text, text, f"/a, b/{text}.wav")


def test_lists_names_and_null_are_read():
    s = settings_of("models={a: x/y, b: recordings}", "wavs=[/u/v,'/w x']", "mos=null", "limit=3")
    assert s.models == {"a": "x/y", "b": "recordings"} and s.wavs == ["/u/v", "/w x"]
    assert s.mos is None and s.limit == 3
    assert settings_of("speaker=wavlm:/a b/w=1.pth").speaker == "wavlm:/a b/w=1.pth"
    assert settings_of("device=[cuda:0,cuda:1]").only_device == "cuda:0"


def test_names_and_folders_of_lists_have_any_character_in_quotes():
    odd = "/w/My TTS [v2], it's \u00a0“new”\u200b # 1 ${HOME}"
    quoted = '"' + odd + '"'
    s = settings_of(f'wavs={{x: {quoted}, "b, [c]": /y}}', f"models=[{quoted}, 007]")
    assert s.wavs == {"x": odd, "b, [c]": "/y"} and s.models == [odd, "007"]
    assert settings_of("wavs=[hifi] out/wavs").wavs == "[hifi] out/wavs"
    assert settings_of("stage=report", f"systems=[{quoted}]").systems == [odd]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "wavs=[/a [v2]/x, b]",
            r"wavs=\[/a \[v2\]/x, b\]: .*write wavs=\[a, b\] or .* around what",
        ),
        ("wavs=[hifi] and [lofi]", "around what has brackets"),
        ("models={a:b}", "an entry is empty"),
        ("models={a: x, a: y}", "a name is there twice"),
        ("asr=[[a], b]", "a list itself"),
    ],
)
def test_a_list_that_is_none_is_told_with_what_to_write(argument, message):
    with pytest.raises(InputError, match=message):
        split_literals([argument])


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_composes_and_its_help_has_every_key_with_the_meaning_of_it(stage):
    needed = {"ratings": ["ratings=x"]}.get(stage, [])
    s = settings_of(f"stage={stage}", *needed)
    assert s.stage == stage
    text = help_of(stage)
    for part in parts_of(stage).values():
        for key in set(yaml.safe_load(part)) - {"defaults", "stage"}:
            assert f"\n{key}:" in text
    assert "# " in text and "@package" not in text and "hydra" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stage=nope"], "unknown stage 'nope'; valid: all, synthesize"),
        (["stage=report", "asr=x"], "stage=report has no key asr; it has: allow_partial"),
        (["stage=compare", "system.codec=x"], "stage=compare has no key system.codec"),
        (["ratios=1to1"], "stage=all has no key ratios"),
    ],
)
def test_a_key_that_the_stage_does_not_have_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        check_keys(arguments)


def test_hydras_own_keys_are_left_to_it():
    check_keys(["stage=all", "hydra.verbose=true", "+system.sampling.top_p=0.5", "~name"])


@pytest.mark.parametrize("stage", ["all", "score"])
def test_metrics_are_checked_before_anything_is_said_or_stored(stage, monkeypatch):
    monkeypatch.setattr(Evaluation, "open", lambda *_: pytest.fail("the work has begun"))
    kind, work = STAGES[stage]
    for wrong, message in (("asr=tini.en", "unknown Whisper"), ("mos=utmos", "unknown MOS model")):
        s = settings_of(f"stage={stage}", "model=assets/mini/teacher", wrong)
        assert isinstance(s, kind)
        with pytest.raises(InputError, match=message):
            work(s, Console(quiet=True))


@pytest.mark.parametrize("stage", ["all", "synthesize", "score", "efficiency"])
def test_a_device_that_is_not_there_is_one_line_before_any_work(stage, tmp_path):
    s = settings_of(f"stage={stage}", "model=assets/mini/teacher", "device=gpu", f"out={tmp_path}")
    with pytest.raises(InputError, match=r"device=gpu: .*; device=cpu always works"):
        STAGES[stage][1](s, Console(quiet=True))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stage", ["all", "score"])
def test_metrics_may_have_another_device_than_models(stage, tmp_path, monkeypatch):
    """A GPU without cuBLAS 12 can speak, and the processor hears."""
    asked = []
    monkeypatch.setattr(
        scorers, "check_device", lambda device, key="device": asked.append((key, device))
    )
    s = settings_of(f"stage={stage}", "device=cuda:0", "score_device=cpu", f"out={tmp_path}")
    assert scorers.load_scorers(s, "en", s.only_device).setup.settings.device == "cpu"
    assert asked == [("device", "cuda:0"), ("score_device", "cpu")]
    monkeypatch.undo()
    s = settings_of(f"stage={stage}", "score_device=gpu", f"out={tmp_path}")
    with pytest.raises(InputError, match=r"score_device=gpu: .*; score_device=cpu always works"):
        STAGES[stage][1](s, Console(quiet=True))


def test_processes_of_several_devices_end_with_the_one_that_started_them(tmp_path, monkeypatch):
    started = []

    class Process:
        def __init__(self, command, **_) -> None:
            self.command, self.ended = command, False
            started.append(self)

        def wait(self) -> int:
            os.kill(os.getpid(), signal.SIGTERM)
            return 0

        def terminate(self) -> None:
            self.ended = True

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(evaluate.subprocess, "Popen", Process)
    s = settings_of("device=[cuda:0,cuda:1]", "shard=1/2", f"out={tmp_path}")
    try:
        with pytest.raises(SystemExit) as stopped:
            evaluate.in_processes(s, s.device, Console(quiet=True))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped.value.code == 143 and [one.ended for one in started] == [True, True]
    parts = [one.command[-2:] for one in started]
    assert parts == [["device=cuda:0", "shard=1/4"], ["device=cuda:1", "shard=3/4"]]
