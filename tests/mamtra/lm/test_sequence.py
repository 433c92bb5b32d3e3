"""Sequence layout, targets and collation."""

import pytest
import torch

from mamtra.lm.sequence import (
    IGNORE,
    KIND_PAD,
    KIND_SPECIAL,
    KIND_SPEECH,
    KIND_TEXT,
    alignment_targets,
    build_prompt,
    build_sequence,
    collate,
)


def test_layout_and_unshifted_targets():
    ids, kinds, targets = build_sequence([5, 6, 7], [10, 11], speech_vocab=100)
    assert ids.tolist() == [0, 5, 6, 7, 1, 10, 11]
    assert kinds.tolist() == [KIND_SPECIAL, *[KIND_TEXT] * 3, KIND_SPECIAL, *[KIND_SPEECH] * 2]
    assert targets.tolist() == [-1, -1, -1, -1, 10, 11, 100]  # [-1]*(1+L) + speech + [eos]


def test_the_prompt_is_the_beginning_of_the_sequence():
    ids, kinds, _ = build_sequence([5, 6], [10, 11, 12], speech_vocab=100)
    prompt_ids, prompt_kinds = build_prompt(torch.tensor([5, 6]), torch.tensor([10]))
    assert torch.equal(prompt_ids, ids[:5]) and torch.equal(prompt_kinds, kinds[:5])
    assert build_prompt([5], [])[0].tolist() == [0, 5, 1]


def test_collate_pads_on_the_right():
    batch = collate([build_sequence([1], [2], 9), build_sequence([1, 2, 3], [4, 5], 9)], ["a", "b"])
    assert batch.ids.shape == batch.kinds.shape == batch.targets.shape == (2, 7)
    assert batch.mask.tolist() == [[True] * 4 + [False] * 3, [True] * 7]
    assert batch.kinds[0].tolist() == [0, 1, 0, 2, *[KIND_PAD] * 3]
    assert batch.targets[0].tolist() == [IGNORE, IGNORE, 2, 9, *[IGNORE] * 3]
    assert batch.n_tokens == 11
    assert batch.utterances == ("a", "b")
    assert batch.to("cpu").utterances == ("a", "b")


def test_bad_input():
    with pytest.raises(ValueError, match="text has no tokens"):
        build_sequence([], [1], 9)
    with pytest.raises(ValueError, match="speech has no tokens"):
        build_sequence([1], [], 9)
    with pytest.raises(ValueError, match=r"-1\.\.9, outside 0\.\.8"):
        build_sequence([1], [-1, 9], 9)
    with pytest.raises(ValueError, match="1 sequences for 2"):
        collate([build_sequence([1], [2], 9)], ["a", "b"])


def test_alignment_targets_point_at_text_positions():
    # sos a b c task | x y z: the task position predicts x, z predicts the end
    found = alignment_targets(3, [0, 2, 2])
    assert found.tolist() == [IGNORE] * 4 + [1, 3, 3, 3]
    _, kinds, targets = build_sequence([5, 6, 7], [1, 2, 3], 9)
    assert ((found != IGNORE) == (targets != IGNORE)).all()
    assert (kinds[found[found != IGNORE]] == KIND_TEXT).all()


@pytest.mark.parametrize("alignment", [[0, 3], [-1, 0]])
def test_an_alignment_outside_the_text_is_an_error(alignment):
    with pytest.raises(ValueError, match="in a text of 3"):
        alignment_targets(3, alignment)
