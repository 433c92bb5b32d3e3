"""Waveform <-> speech tokens: one small interface, one adapter per system."""

from mamtra.speech.mini_codec import load_codec

__all__ = ["load_codec"]
