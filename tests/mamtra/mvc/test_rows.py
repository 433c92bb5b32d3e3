import pytest
import torch

from mamtra.mvc.rows import Rows, borders, owners, regulate, stack_frames, unstack_frames


def test_rows_are_reversed_within_their_length_and_twice_is_the_identity():
    x = torch.arange(12).view(2, 6, 1).float()
    rows = Rows.of(torch.tensor([6, 4]), 6)
    reversed_once = rows.reverse(x)
    assert reversed_once[0, :, 0].tolist() == [5, 4, 3, 2, 1, 0]
    assert reversed_once[1, :, 0].tolist() == [9, 8, 7, 6, 10, 11]
    assert torch.equal(rows.reverse(reversed_once), x)
    assert torch.equal(rows.reverse(x[..., 0]), reversed_once[..., 0])


@pytest.mark.parametrize("lengths", [[0, 3], [7, 1], []])
def test_rows_that_do_not_fit_are_refused(lengths):
    with pytest.raises(ValueError, match="do not fit"):
        Rows.of(torch.tensor(lengths, dtype=torch.long), 6)


def test_ahead_stops_at_the_last_valid_position():
    x = torch.arange(5.0).view(1, 5, 1).expand(2, 5, 1)
    rows = Rows.of(torch.tensor([5, 3]), 5)
    assert rows.ahead(x, 2)[:, :, 0].tolist() == [[2, 3, 4, 4, 4], [2, 2, 2, 2, 2]]


def test_every_border_is_within_half_a_frame_and_sums_are_exact():
    durations = torch.randint(0, 9, (10_000, 12), generator=torch.Generator().manual_seed(0))
    durations[:, 0] += 1
    exact = durations.cumsum(dim=1) / 2
    assert float((borders(durations) - exact).abs().max()) <= 0.5
    owner, rows = owners(durations)
    assert torch.equal(rows.lengths, (durations.sum(dim=1) + 1) // 2)
    counts = torch.zeros_like(durations)
    counts.scatter_add_(1, owner, rows.valid.long())
    ends = borders(durations)
    assert torch.equal(counts, torch.diff(ends, dim=1, prepend=torch.zeros_like(ends[:, :1])))


def test_a_token_without_frames_is_left_out_and_place_counts_within_a_token():
    x = torch.tensor([[[1.0], [2.0], [3.0]]])
    u, place, rows = regulate(x, torch.tensor([[4, 0, 6]]))
    assert u[0, :, 0].tolist() == [1, 1, 3, 3, 3] and rows.lengths.tolist() == [5]
    assert place[0, :, 0].tolist() == pytest.approx([0, 1 / 2, 0, 1 / 3, 2 / 3])
    assert place[0, :, 1].tolist() == pytest.approx([1 / 2, 0, 2 / 3, 1 / 3, 0])


@pytest.mark.parametrize(
    ("durations", "message"), [([[0, 0]], "without a single frame"), ([[3, -1]], "not be negative")]
)
def test_durations_that_are_none_are_refused(durations, message):
    with pytest.raises(ValueError, match=message):
        owners(torch.tensor(durations))


def test_two_frames_of_100_hz_are_one_of_50():
    x = torch.arange(8.0).view(1, 4, 2)
    assert stack_frames(x).tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7]]]
    assert torch.equal(unstack_frames(stack_frames(x)), x)
