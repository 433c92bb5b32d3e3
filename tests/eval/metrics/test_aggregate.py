"""The averages add up over batches and ranks to what they are over everything."""

import multiprocessing as mp

import pytest
import torch

from eval.metrics.aggregate import CorpusWER, MeanScore, UtteranceMeanWER

REFERENCES = ["The cat sat.", "hello", "?!", "a b c d e f g h"]
HEARD = ["the cat sat down", "yellow, yellow", "noise", None]
# 1 insertion of 3 words, 1 substitution and 1 insertion of 1, left out, 8 deletions of 8
CORPUS, MEAN = 11 / 12, (1 / 3 + 2 + 1) / 3


@pytest.mark.parametrize(("metric", "value"), [(CorpusWER, CORPUS), (UtteranceMeanWER, MEAN)])
def test_rates_in_one_batch_and_in_several(metric, value):
    whole, parts = metric(), metric()
    whole.update(REFERENCES, HEARD)
    for pair in zip(REFERENCES, HEARD, strict=True):
        parts.update(*([x] for x in pair))
    assert whole.compute().item() == pytest.approx(value) == parts.compute().item()
    whole.reset()
    assert torch.isnan(whole.compute())
    with pytest.raises(ValueError):
        whole.update(["one"], [])


def test_scores_leave_out_what_has_none():
    metric = MeanScore()
    metric.update([1.0, None, 4.0])
    metric.update([None])
    assert metric.compute().item() == 2.5 and metric.count == 2


def test_profiles_and_languages():
    metric = CorpusWER("whisper")
    metric.update(["fifty turns"], ["50 turns"])
    assert metric.compute() == 0
    metric = CorpusWER("seedtts", "zh")
    metric.update(["我们走"], ["我們走"])
    assert metric.compute() == 0
    with pytest.raises(ValueError, match="unknown profile"):
        CorpusWER("none")


def rank(index: int, port: int, queue) -> None:
    """One of two processes: every second utterance."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=index, world_size=2
    )
    metrics = [CorpusWER(), UtteranceMeanWER(), MeanScore()]
    for metric in metrics[:2]:
        metric.update(REFERENCES[index::2], HEARD[index::2])
    metrics[2].update([[1.0, 2.0], [None, 6.0]][index])
    found = [metric.compute().item() for metric in metrics]
    torch.distributed.destroy_process_group()
    queue.put(found)


@pytest.mark.slow
def test_two_ranks_compute_what_one_does(unused_port):
    context = mp.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=rank, args=(i, unused_port, queue)) for i in range(2)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert found[0] == found[1] == pytest.approx([CORPUS, MEAN, 3.0])


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
