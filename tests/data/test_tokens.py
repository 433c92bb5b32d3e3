import pandas as pd
import pytest
import torch

from data.tokens import join_tables, read_token_table
from mamtra.text.characters import CharacterTokenizer

GOOD = {
    "utterance": ["a", "b", "c"],
    "split": ["train", "train", "valid"],
    "text": ["one two.", "three", "four"],
    "voice": ["v1", "v2", "v1"],
    "tokens": [[0, 1, 2], [9], [3, 4]],
}


def write(tmp_path, drop=(), **changes):
    frame = pd.DataFrame({**GOOD, **changes}).drop(columns=list(drop))
    path = tmp_path / "tokens.parquet"
    frame.to_parquet(path)
    return path


def read(path, split="train"):
    return read_token_table(path, split, CharacterTokenizer(), 10)


def test_reads_the_rows_of_a_split(tmp_path):
    table = read(write(tmp_path))
    assert table.utterances == ("a", "b") and table.voices == ("v1", "v2")
    assert table.speech_ids[0].tolist() == [0, 1, 2] and table.speech_ids[0].dtype == torch.int64
    assert table.text_ids[1].tolist() == CharacterTokenizer().encode("three")
    assert len(table) == 2
    lengths = [len(x) for x in (*table.text_ids, *table.speech_ids)]
    assert table.sequence_lengths((0, 1)) == 2 + sum(lengths)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokens\.parquet does not exist"):
        read(tmp_path / "tokens.parquet")


def test_not_parquet(tmp_path):
    path = tmp_path / "tokens.parquet"
    path.write_text("utterance,text\n")
    with pytest.raises(ValueError, match="not a readable parquet"):
        read(path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"drop": ["voice", "text"]}, r"lacks the column\(s\) text, voice"),
        ({"utterance": ["a", "b", "a"]}, "utterance 'a' appears twice"),
        ({"text": ["one", "tw0", "x"]}, "utterance 'b'.*'0'"),
        ({"text": ["one", " ", "x"]}, "utterance 'b'.*empty"),
        ({"tokens": [[0], [10], [1]]}, r"utterance 'b'.*token 10 is outside 0\.\.9"),
        ({"tokens": [[-1], [1], [1]]}, "utterance 'a'.*token -1 is outside"),
        ({"tokens": [[0], [], [1]]}, "utterance 'b'.*no speech tokens"),
        ({"split": ["valid"] * 3}, "no utterance in split 'train'; splits: valid"),
    ],
)
def test_bad_tables_are_named(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        read(write(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"tokens": [{"a": [1]}] * 3}, r"tokens are no lists of numbers: struct<a"),
        ({"tokens": ["1 2"] * 3}, r"tokens are no lists of numbers: "),
        (
            {"tokens": [[0.5], [1.0], [2.0]]},
            r"tokens are no lists of numbers: list<element: double>",
        ),
        ({"split": [{"a": 1}] * 3}, r"column split has type struct"),
        ({"split": [1, 2, 3]}, r"column split: "),
    ],
)
def test_columns_of_another_type_are_named(tmp_path, changes, match):
    with pytest.raises(ValueError, match=rf"tokens\.parquet: {match}"):
        read(write(tmp_path, **changes))


def test_alignments_are_read_when_the_file_has_them(tmp_path):
    assert read(write(tmp_path)).alignments is None
    table = read(write(tmp_path, alignment=[[0, 3, 7], [4], [0, 3]]))
    assert table.alignments is not None
    assert [a.tolist() for a in table.alignments] == [[0, 3, 7], [4]]


@pytest.mark.parametrize(
    ("alignment", "match"),
    [
        ([[0, 1], [4], [0, 3]], "utterance 'a': 2 alignments for 3 speech tokens"),
        ([[0, 1, 8], [4], [0, 3]], "utterance 'a': the alignment leaves the 8 text tokens"),
        ([[0, 1, 2], None, [0, 3]], "utterance 'b': 0 alignments for 1 speech tokens"),
    ],
)
def test_bad_alignments_are_named(tmp_path, alignment, match):
    with pytest.raises(ValueError, match=match):
        read(write(tmp_path, alignment=alignment))


def test_joined_tables_keep_alignments_that_all_have(tmp_path):
    aligned = {"alignment": [[0, 1, 2], [0], [0, 1]]}
    first, second = (
        read(write(tmp_path, **aligned)),
        read(write(tmp_path, utterance=["d", "e", "f"])),
    )
    both = join_tables([first, second])
    assert both.utterances == ("a", "b", "d", "e") and both.voices == ("v1", "v2", "v1", "v2")
    assert both.alignments is None and len(both) == 4
    assert all(
        torch.equal(a, b) for a, b in zip(both.speech_ids[2:], first.speech_ids, strict=True)
    )
    third = read(write(tmp_path, utterance=["g", "h", "i"], **aligned))
    alignments = join_tables([first, third]).alignments
    assert alignments is not None and [len(ids) for ids in alignments] == [3, 1, 3, 1]


def test_what_cannot_be_joined(tmp_path):
    table = read(write(tmp_path))
    with pytest.raises(ValueError, match="utterance 'a' is in two token tables"):
        join_tables([table, table])
    with pytest.raises(ValueError, match="no token table"):
        join_tables([])
