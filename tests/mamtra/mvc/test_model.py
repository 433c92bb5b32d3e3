"""Speaking: no target enters, seeds decide, bad input is named; the flow decoder is what it should be."""

import inspect

import pytest
import torch

from mamtra.mvc.encoders import Prosody
from mamtra.mvc.flow_decoder import RESIDUAL, FlowDecoder
from mamtra.mvc.model import MVC, LeakyMVC
from mamtra.mvc.rows import Rows
from mamtra.mvc.sizes import N_STACKED
from mamtra.mvc.voice import Voices

IDS = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 0], [8, 9, 0, 0]])
LENGTHS = torch.tensor([4, 3, 2])
DURATIONS = torch.tensor([[3, 4, 2, 5], [4, 5, 3, 0], [6, 6, 0, 0]])


def test_no_public_method_takes_a_target():
    own = {name: method for name, method in vars(MVC).items() if not name.startswith("_")}
    methods = [method for method in own.values() if inspect.isfunction(method)]
    assert {"condition", "speak", "read"} <= own.keys()
    names = {p for m in methods for p in inspect.signature(m).parameters}
    assert not names & {"mel", "target", "frames"}


def outputs(prosody: Prosody) -> torch.Tensor:
    parts = (prosody.log_f0, prosody.voicing, prosody.energy, prosody.mu)
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def test_the_arm_that_leaks_reads_its_target(make, voices):
    # That no other arm does is a test of training, where the target is at hand: lightning_modules/test_mvc.py.
    target = torch.randn(3, 7, N_STACKED, requires_grad=True)
    leaky = make("leak")
    assert isinstance(leaky, LeakyMVC)
    found = leaky.condition_on(IDS, LENGTHS, voices, DURATIONS, target)
    (gradient,) = torch.autograd.grad(outputs(found.prosody).sum(), target)
    assert float(gradient.abs().sum()) > 0


def test_the_arm_that_leaks_cannot_speak(make, voices):
    with pytest.raises(ValueError, match="leak cannot speak"):
        make("leak").speak([[1, 2]], voices, [0], 2)
    with pytest.raises(ValueError, match="condition_on"):
        make("leak").condition(IDS, LENGTHS, voices, DURATIONS)


def test_equal_seeds_make_equal_frames_whatever_the_batch(make, voices):
    model = make("mvc")
    durations = [torch.tensor([3, 4, 2, 5]), torch.tensor([4, 5, 3])]
    two = Voices(voices.embedding[:2])
    texts = [[1, 2, 3, 4], [5, 6, 7]]
    spoken = model.speak(texts, two, [7, 8], 3, durations)
    again = model.speak(texts, two, [7, 8], 3, durations)
    assert all(torch.equal(a, b) for a, b in zip(spoken.frames, again.frames, strict=True))
    alone = model.speak(texts[1:], Voices(voices.embedding[1:2]), [8], 3, durations[1:])
    torch.testing.assert_close(alone.frames[0], spoken.frames[1], rtol=1e-4, atol=1e-5)
    other = model.speak(texts, two, [9, 8], 3, durations)
    assert not torch.allclose(other.frames[0], spoken.frames[0])
    assert spoken.frames[0].shape == (14, 82) and spoken.durations[1].tolist() == [4, 5, 3]
    assert set(spoken.frames[0][:, 81].tolist()) <= {6.0, -6.0}


def test_without_steps_the_mel_is_mu(make, voices):
    model = make("mvc")
    one = Voices(voices.embedding[:1])
    spoken = model.speak([[1, 2, 3, 4]], one, [0], 0, [DURATIONS[0]])
    mu = model.condition(IDS[:1], LENGTHS[:1], one, DURATIONS[:1]).prosody.mu
    torch.testing.assert_close(spoken.frames[0][:, :80], mu[0].reshape(-1, 80))


def test_pace_and_bad_input(make, voices):
    model = make("mvc")
    one = Voices(voices.embedding[:1])
    with torch.no_grad():
        model.rhythm.duration.bias.fill_(2.5)
    slow, fast = (model.speak([[1, 2, 3]], one, [0], 1, pace=p).durations[0] for p in (1.0, 2.0))
    assert 0.4 < float(fast.sum() / slow.sum()) < 0.6
    with pytest.raises(ValueError, match="without tokens"):
        model.speak([[]], one, [0], 1)
    with pytest.raises(ValueError, match="another text or aligner"):
        model.speak([[1, 2, 3]], one, [0], 1, [torch.tensor([4, 4])])
    with pytest.raises(ValueError, match="cut the text"):
        model.speak([[1, 2]], one, [0], 1, [torch.tensor([200, 61_000])])
    for pace in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="pace must be a number above 0"):
            model.speak([[1, 2]], one, [0], 1, pace=pace)
    for temperature in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="temperature must not be negative"):
            model.speak([[1, 2]], one, [0], 1, temperature=temperature)


class Linear(FlowDecoder):
    """Its velocity is that of straight lines from the noise to a goal."""

    def __init__(self, goal):
        torch.nn.Module.__init__(self)
        self.goal = goal

    def forward(self, x, t, mu, prosody, style, rows):
        return (self.goal - x) / (1 - t[:, None, None])


@pytest.mark.parametrize("n_steps", [1, 2, 5])
def test_euler_steps_are_exact_on_straight_lines(n_steps):
    goal, noise = torch.randn(2, 3, N_STACKED), torch.randn(2, 3, N_STACKED)
    rows = Rows.of(torch.tensor([3, 3]), 3)
    found = Linear(goal).sample(noise, noise, noise, noise, rows, n_steps)
    torch.testing.assert_close(found, goal, rtol=1e-4, atol=1e-5)


def test_the_decoder_is_blind_to_padding_and_to_what_lies_beyond_its_field(tiny):
    torch.manual_seed(0)
    decoder = FlowDecoder(tiny).eval()
    torch.nn.init.normal_(decoder.outlet.weight, std=0.2)  # 0 at the start
    x, style = torch.randn(2, 60, N_STACKED), torch.randn(2, tiny.d_style)
    prosody, t = torch.randn(2, 60, 6), torch.tensor([0.3, 0.7])
    rows = Rows.of(torch.tensor([60, 20]), 60)
    whole = decoder(x, t, x, prosody, style, rows)
    short = decoder(x[1:, :20], t[1:], x[1:, :20], prosody[1:, :20], style[1:], rows_of(20))
    torch.testing.assert_close(whole[1, :20], short[0], rtol=1e-4, atol=1e-5)
    other = x.clone()
    other[0, 40:] += 1  # two blocks of five taps, dilated by 1 and 2, see 6 frames around
    moved = decoder(other, t, x, prosody, style, rows)
    assert torch.equal(moved[0, :34], whole[0, :34]) and not torch.allclose(
        moved[0, 34], whole[0, 34]
    )
    with pytest.raises(ValueError, match="n_steps"):
        decoder.sample(x, x, prosody, style, rows, -1)


def test_the_flow_that_the_network_adds_to_makes_mels_that_scatter_around_mu(tiny):
    torch.manual_seed(0)
    decoder, n = FlowDecoder(tiny).eval(), 400
    mu, noise = torch.randn(1, n, N_STACKED), torch.randn(1, n, N_STACKED)
    style, rows = torch.randn(1, tiny.d_style), rows_of(n)
    found = decoder.sample(noise, mu, torch.randn(1, n, 6), style, rows, 200)
    # The exact map of a normal distribution to another; Euler steps come to it as they become short.
    torch.testing.assert_close(found, mu + RESIDUAL * noise, rtol=0, atol=0.02)
    still = decoder.sample(0 * noise, mu, torch.randn(1, n, 6), style, rows, 1)
    torch.testing.assert_close(still, mu)


def test_a_temperature_below_one_stays_nearer_to_the_mean(make, voices):
    model, one = make("mvc"), Voices(voices.embedding[:1])

    def said(n_steps, temperature):
        return model.speak([[1, 2, 3, 4]], one, [3], n_steps, temperature=temperature).frames[0]

    mean = said(0, 1.0)
    gaps = [float((said(3, t) - mean).norm()) for t in (0.0, 0.5, 1.0)]
    assert gaps[0] < gaps[1] < gaps[2]
    with pytest.raises(ValueError, match="temperature must not be negative, got -1"):
        said(3, -1)


def rows_of(n: int) -> Rows:
    return Rows.of(torch.tensor([n]), n)
