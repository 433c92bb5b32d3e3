"""Speed and memory: known durations on a clock of its own, closed forms of the state, what the command does."""

import io
import json
from itertools import product

import pytest
import torch
from hydra import compose, initialize_config_dir
from rich.console import Console

from eval.efficiency.bandwidth import memory_bandwidth, weight_step_bytes
from eval.efficiency.measure import measure
from eval.efficiency.models import TimedModel
from eval.efficiency.settings import Efficiency
from eval.efficiency.stage import efficiency_table, machine_text
from eval.report.board.board import measurements, write_board
from eval.stages import run_efficiency
from eval.store.files import InputError
from eval.store.manifest import REPOSITORY
from mamtra.backbone.layer_plan import layer_plan
from mamtra.lm.checkpoint import load_lm
from mamtra.lm.speech_lm import SpeechLM
from mamtra.speech import load_codec
from settings import SettingsError, typed_settings
from tests.eval.made_up import scored_row, store_system


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Sleeper:
    """Takes `first_s` a position until the first token, `step_s` for each other one, `vocode_s` a wave."""

    token_rate_hz, weight_bytes, prefill = 25.0, 8, True

    def __init__(self, clock, first_s, step_s, vocode_s=0.5, cold_s=3.0):
        self.clock, self.first_s, self.step_s = clock, first_s, step_s
        self.vocode_s, self.cold_s = vocode_s, cold_s

    def speak(self, context, n_tokens, batch):
        self.clock.now += self.first_s * context + self.cold_s
        self.cold_s = 0.0
        yield [0] * batch
        for token in range(1, n_tokens):
            self.clock.now += self.step_s
            yield [token] * batch

    def vocode(self, tokens):
        self.clock.now += self.vocode_s
        return len(tokens) / self.token_rate_hz

    def state_bytes(self, context, batch):
        return 10 * context * batch

    def step_bytes(self, context, batch):
        return 1000 + self.state_bytes(context, batch)


def test_known_times_are_measured_and_the_warm_up_is_left_out():
    clock = Clock()
    systems = {"slow": Sleeper(clock, 0.01, 0.02), "fast": Sleeper(clock, 0.001, 0.005)}
    rows = measure(systems, contexts=(100, 200), n_tokens=50, rounds=3, clock=clock)
    assert [(r.context, r.system) for r in rows] == list(product((100, 200), ("slow", "fast")))
    slow, fast = rows[2:]
    assert slow.first_token_s == pytest.approx(2.0) and fast.first_token_s == pytest.approx(0.2)
    assert slow.tokens_per_s == pytest.approx(50) and fast.tokens_per_s == pytest.approx(200)
    assert slow.tokens_per_s_low == pytest.approx(50) == slow.tokens_per_s_high
    assert slow.lm_rtf == pytest.approx((2.0 + 49 * 0.02) / 2.0)  # 50 tokens are two seconds
    assert slow.codec_rtf == pytest.approx(0.25)
    assert slow.state_bytes == 2000


def test_a_system_that_slows_down_shows_in_the_range():
    clock = Clock()
    system = Sleeper(clock, 0.01, 0.01)
    rounds = iter((0.01, 0.01, 0.02, 0.04))

    def vocode(tokens):
        system.step_s = next(rounds)
        return 1.0

    system.vocode = vocode
    (row,) = measure({"one": system}, contexts=(10,), n_tokens=11, rounds=3, clock=clock)
    assert row.tokens_per_s == pytest.approx(100)
    assert row.tokens_per_s_low == pytest.approx(50) and row.tokens_per_s_high == pytest.approx(100)


def test_a_system_that_stops_early_is_not_measured():
    class Short(Sleeper):
        def speak(self, context, n_tokens, batch):
            yield from super().speak(context, n_tokens - 1, batch)

    with pytest.raises(RuntimeError, match="4 tokens came instead of 5"):
        measure({"one": Short(Clock(), 1, 1)}, contexts=(10,), n_tokens=5, rounds=3)


def test_a_batch_makes_as_many_tokens_a_step_as_it_has_rows():
    clock = Clock()
    system = Sleeper(clock, 0.01, 0.02)
    one, four = measure(
        {"one": system}, contexts=(100,), batches=(1, 4), n_tokens=50, rounds=3, clock=clock
    )
    assert (one.batch, four.batch) == (1, 4)
    assert four.tokens_per_s == pytest.approx(4 * one.tokens_per_s) == pytest.approx(200)
    assert four.lm_rtf == pytest.approx(one.lm_rtf / 4)
    assert four.state_bytes == 4 * one.state_bytes


def test_the_limit_is_bandwidth_over_what_a_step_moves():
    clock = Clock()
    made = {"bandwidth": 1e6, "n_tokens": 5, "rounds": 3, "clock": clock}
    one, four = measure({"one": Sleeper(clock, 1, 1)}, contexts=(100,), batches=(1, 4), **made)
    assert one.limit_tokens_per_s == pytest.approx(1e6 / 2000)  # 1,000 of weights, 1,000 of state
    assert four.limit_tokens_per_s == pytest.approx(4 * 1e6 / 5000)
    assert memory_bandwidth("cpu", buffer_bytes=2**20) > 1e8


def test_a_batch_that_does_not_fit_names_the_one_that_does():
    class Small(Sleeper):
        def speak(self, context, n_tokens, batch):
            if batch > 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
            yield from super().speak(context, n_tokens, batch)

    run = {"contexts": (10,), "n_tokens": 5, "rounds": 3}
    with pytest.raises(InputError, match=r"one: a batch of 16 at 10 positions .* of cpu; 4 fits"):
        measure({"one": Small(Clock(), 1, 1)}, batches=(16,), **run)


def test_a_model_speaks_as_many_tokens_as_asked_and_its_state_has_the_closed_form(tiny_world):
    timed = TimedModel(load_lm(tiny_world / "teacher"), load_codec(tiny_world))
    sizes = timed.lm.sizes
    for context in (16, 64):
        for prefill in (True, False):
            timed.prefill = prefill
            assert [len(step) for step in timed.speak(context, 7, 3)] == [3] * 7
        per_layer = 2 * sizes.n_kv_heads * sizes.head_dim * context * 4
        table, position = sizes.head_dim * context * 4, 8
        assert timed.state_bytes(context, 1) == len(timed.lm.plan) * per_layer + table + position
    assert timed.vocode([1, 2, 3]) > 0 and TimedModel(timed.lm).vocode([1]) is None


def test_what_a_step_moves_is_every_weight_and_state_once(tiny_world):
    sizes = load_lm(tiny_world / "teacher").sizes
    lm = SpeechLM(sizes, layer_plan(sizes.n_layers, "1:1", "blockbeg"), 20, 30).eval()
    weights = sum(p.nbytes for p in lm.parameters())
    tables = (20 + 2 + 33) * sizes.d_model * 4
    assert weight_step_bytes(lm) == weights - tables
    attention, mamba = (lm.new_state(3, 50).slots[i].num_bytes() for i in (0, 1))
    n = sizes.n_layers // 2
    moved = weights - tables + n * attention + n * 2 * mamba  # a recurrent state is written, too
    assert TimedModel(lm).step_bytes(50, 3) == moved


def command(world, *words):
    """evaluate.py stage=efficiency, without a process of its own."""
    with initialize_config_dir(str(REPOSITORY / "configs"), version_base="1.3"):
        config = compose(
            "evaluate", overrides=["stage=efficiency", f"system.codec={world}", *words]
        )
    return run_efficiency(typed_settings(Efficiency, config), Console(quiet=True))


SETTINGS = ("contexts=[16,32]", "n_tokens=3", "rounds=3")


def test_the_command_writes_what_the_board_shows(tiny_world, tmp_path):
    words = [f"models={{a: {tiny_world}/teacher, b: {tiny_world}/teacher}}", "baseline=a"]
    assert command(tiny_world, *words, *SETTINGS, f"out={tmp_path / 'one'}") == 0
    content = json.loads((tmp_path / "one/efficiency.json").read_text())
    assert len(content["rows"]) == 4 and content["fingerprint"] and content["git"]
    other = {**content, "machine": {**content["machine"], "processor": "another"}}
    other["fingerprint"] = "elsewhere"
    (tmp_path / "three").mkdir()
    (tmp_path / "three/efficiency.json").write_text('{"rows": "of another tool"}')
    (tmp_path / "two").mkdir()
    (tmp_path / "two/efficiency.json").write_text(json.dumps(other))
    tables = measurements(tmp_path)
    assert [table["machine"] for table in tables] == [machine_text(content), machine_text(other)]
    first = tables[0]["rows"][0]
    assert first[0] == "a" and first[6] == "1.00" and first[-1] == "–"


def test_every_model_is_measured_in_every_dtype(tiny_world, tmp_path):
    words = [f"models={{a: {tiny_world}/teacher}}", "baseline=a bf16", f"out={tmp_path}"]
    words += ["dtypes=[fp32,bf16]", "batches=[1,2]"]
    assert command(tiny_world, *words, *SETTINGS) == 0
    rows = json.loads((tmp_path / "efficiency.json").read_text())["rows"]
    places = [(row["context"], row["batch"], row["system"]) for row in rows]
    assert places == list(product((16, 32), (1, 2), ("a fp32", "a bf16")))
    assert rows[1]["weight_bytes"] < 0.51 * rows[0]["weight_bytes"]
    assert rows[1]["state_bytes"] < rows[0]["state_bytes"]


def test_peers_are_measured_beside_a_model_without_codec_and_without_reading(tiny_world, tmp_path):
    words = [f"models={{a: {tiny_world}/teacher}}", f"out={tmp_path}", "system.codec=nowhere"]
    words += ["peers=[cosyvoice2,no_text_head]", "prefill=false", "vocode=false", "batches=[2]"]
    words += ["baseline=transformers without text head"]
    assert command(tiny_world, *words, *SETTINGS) == 0
    content = json.loads((tmp_path / "efficiency.json").read_text())
    names = ["a", "transformers as CosyVoice 2 drives it", "transformers without text head"]
    assert [row["system"] for row in content["rows"]] == 2 * names
    for row in content["rows"]:
        assert row["first_token_s"] is row["lm_rtf"] is row["codec_rtf"] is None
        assert row["limit_tokens_per_s"] > 0 and row["tokens_per_s"] > 0
    assert content["runtime"]["a"]["ssd"] == "torch" and content["machine"]["bytes_per_s"] > 0


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["model=recordings"], "no language model to measure"),
        (["model=nowhere"], "no such model folder"),
        (["model={world}/teacher", "rounds=1"], "at least 2 tokens and 3 rounds"),
        (["model={world}/teacher", "rounds=null"], "rounds=None: should be a valid integer"),
        (["model={world}/teacher", "n_tokens=1"], "at least 2 tokens and 3 rounds"),
        (["model={world}/teacher", "contexts=256"], "contexts=256: should be a valid array"),
        (["model={world}/teacher", "contexts=[3]"], "a list of lengths"),
        (["model={world}/teacher", "batches=[0]"], "at least one of each"),
        (["model={world}/teacher", "dtypes=[]"], "at least one of each"),
        (["model={world}/teacher", "dtypes=[int4]"], "should be 'fp32', 'bf16' or 'fp16'"),
        (["model={world}/teacher", "system.codec={world}/teacher"], "no codec in"),
        (
            ["model={world}/teacher", "peers=[vllm]"],
            "should be 'cosyvoice2', 'no_text_head' or 'granite'",
        ),
        (["model={world}/teacher", "baseline=x"], "baseline 'x' is not among"),
    ],
)
def test_what_cannot_be_measured(tiny_world, tmp_path, words, fault):
    words = [word.format(world=tiny_world) for word in words]
    with pytest.raises((InputError, SettingsError), match=fault):
        command(tiny_world, *words, f"out={tmp_path}")


def test_the_table_keeps_names_and_numbers_in_80_characters():
    row = {"tokens_per_s": 111.4, "tokens_per_s_low": 90.2, "tokens_per_s_high": 120.6}
    row |= {"first_token_s": 0.9579, "lm_rtf": 0.233, "codec_rtf": 0.009, "context": 2048}
    row |= {"state_bytes": 12_582_912, "peak_allocated_bytes": 3_000_000_000}
    rows = [{**row, "system": name} for name in ("teacher", "1to3-blockbeg-student")]
    machine = {"device": "cpu", "processor": "AMD EPYC", "torch_threads": 1}
    content = {"machine": machine, "fingerprint": "0123abcd", "packages": {"torch": "2.11.0"}}
    buffer = io.StringIO()
    table = efficiency_table({**content, "baseline": "teacher", "rows": rows})
    Console(file=buffer, width=80).print(table)
    lines = buffer.getvalue().splitlines()
    assert any(line.startswith("teacher ") and "12,583" in line for line in lines)
    assert "1to3-blockbeg-" in buffer.getvalue() and "1.00" in buffer.getvalue()


def test_the_board_shows_it(tmp_path):
    store_system(tmp_path / "results", "a", [scored_row("u")])
    row = {"system": "a<b", "context": 256, "first_token_s": 0.1, "tokens_per_s": 100.0}
    row |= {"tokens_per_s_low": 90.0, "tokens_per_s_high": 110.0, "lm_rtf": None, "codec_rtf": None}
    row |= {"state_bytes": 1000, "peak_allocated_bytes": None}
    content = {"machine": {"device": "cpu", "processor": "AMD", "torch_threads": 1}}
    content |= {"packages": {"torch": "2"}, "fingerprint": "0123abcd", "baseline": None}
    (tmp_path / "results/efficiency.json").write_text(json.dumps({**content, "rows": [row]}))
    page = write_board(tmp_path / "results", tmp_path / "b", Console(quiet=True), title="t")
    text = page.read_text()
    assert "a&lt;b" in text and "machine 0123abcd" in text and "90.0-110" in text
