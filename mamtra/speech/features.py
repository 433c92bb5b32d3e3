"""Log-mel features, the acoustic frames that the codec predicts and the vocoder reads.

Shapes: B batch, n samples, M mel bands, F frames. One frame every `HOP` samples (100 a second).
"""

from functools import lru_cache

import torch
import torchaudio

SAMPLE_RATE_HZ = 16_000
HOP = 160
WINDOW = 640
N_FFT = 1024
N_MELS = 80
F_MIN_HZ, F_MAX_HZ = 40.0, 8_000.0
LOG_FLOOR = 1e-4
# Mean and spread of log-mel values over the corpus, so that networks see unit-scale numbers.
MEL_MEAN, MEL_STD = -5.5, 2.4
# Voices of the corpus lie between 60 and 350 Hz; log-f0 is centred on their middle.
F0_MIN_HZ, F0_MAX_HZ, F0_CENTRE_HZ = 60.0, 350.0, 130.0


@lru_cache(maxsize=1)
def _mel_filters() -> torch.Tensor:
    """(N_FFT/2+1, M) triangular filters with unit area (Slaney), as librosa builds them."""
    # Cached beyond the call: a tensor made in inference mode could not take part in training later.
    with torch.inference_mode(False):
        return torchaudio.functional.melscale_fbanks(
            N_FFT // 2 + 1,
            F_MIN_HZ,
            F_MAX_HZ,
            N_MELS,
            SAMPLE_RATE_HZ,
            norm="slaney",
            mel_scale="slaney",
        )


def frame_count(samples: int) -> int:
    """Frames of a waveform: one per started hop."""
    return -(-samples // HOP)


def log_mel(wave: torch.Tensor) -> torch.Tensor:
    """(..., n) waveform at 16 kHz to (..., F, M) natural-log mel magnitudes, F = frame_count(n); in fp32 under
    autocast, too, whose product would round every band to 8 bits."""
    spectrum = torch.stft(
        wave,
        N_FFT,
        HOP,
        WINDOW,
        window=torch.hann_window(WINDOW, device=wave.device),
        center=True,
        pad_mode="constant",
        return_complex=True,
    ).abs()
    with torch.autocast(spectrum.device.type, enabled=False):
        mel = spectrum.transpose(-1, -2) @ _mel_filters().to(wave.device)
    return mel.clamp_min(LOG_FLOOR).log()[..., : frame_count(wave.shape[-1]), :]


def normalise(mel: torch.Tensor) -> torch.Tensor:
    """Log-mel to roughly zero mean and unit variance."""
    return (mel - MEL_MEAN) / MEL_STD
