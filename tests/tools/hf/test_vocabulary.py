"""One table for text, speech and special tokens."""

import pytest
import torch

from tools.hf.vocabulary import MergedVocabulary


def test_the_order_is_upstreams_for_cosyvoice2():
    merged = MergedVocabulary(151_663, 151_936, 6561)
    assert merged.speech == slice(151_663, 158_227) and merged.special == slice(158_227, 158_229)
    assert merged.size == 158_592 and merged.size % 128 == 0


def test_split_is_the_inverse_of_merge():
    merged = MergedVocabulary(5, 9, 20)
    parts = (torch.randn(9, 4), torch.randn(2, 4), torch.randn(23, 4))
    table = merged.merge(*parts)
    assert table.shape == (128, 4)
    assert all(torch.equal(a, b) for a, b in zip(merged.split(table), parts, strict=True))
    assert torch.equal(table[5 + 20], parts[2][20])  # the end of speech
    assert not table[merged.rest.stop :].any()
    assert sorted([*merged.silent(), *range(5, 28)]) == list(range(128))


def test_more_ids_than_rows_are_refused():
    with pytest.raises(ValueError, match=r"10 ids.*9 rows"):
        MergedVocabulary(10, 9, 20)
