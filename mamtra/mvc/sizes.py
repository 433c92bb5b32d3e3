"""Widths and counts of a MambaVoiceCloning model, validated once."""

from dataclasses import dataclass

from mamtra.backbone.sizes import BackboneSizes
from mamtra.speech.features import N_MELS

TAPS, N_CONVS = 5, 3  # of the convolutions before the text encoder's blocks
N_STACKED = 2 * N_MELS  # two 10-ms mel frames are one of 20 ms


@dataclass(frozen=True)
class ArmSizes:
    """All but the vocabulary, which is the text frontend's: what configurations say (configs/sizes).

    `n_heads`, `n_kv_heads` and `head_dim` are those of the Mamba-2 and attention mixers, `d_voice` the width
    of a speaker embedding, `d_style` that of what the layers are told of a voice. `reference`: where the voice
    comes from: an embedding ("ge2e"), a Mamba over the prompt's mel ("ref_mel"), or both.
    `lookahead`: text tokens that may be seen ahead, None for all of them (bi-directional): the text encoder's
    convolutions have it first, since the next sounds say most, its first block the rest.
    """

    d_model: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    text_blocks: int
    temporal_blocks: int
    expressive_blocks: int
    d_voice: int
    d_style: int
    reference: str
    lookahead: int | None
    decoder_width: int
    decoder_blocks: int


@dataclass(frozen=True)
class MVCSizes(ArmSizes):
    """What every layer of a model is built with.

    Raises ValueError, naming the field, for sizes that no layer can be built with.
    """

    vocab: int

    def __post_init__(self) -> None:
        if self.reference not in REFERENCES:
            raise ValueError(
                f"reference={self.reference!r}: it must be one of {', '.join(REFERENCES)}"
            )
        if self.lookahead is not None and self.lookahead < 0:
            raise ValueError(f"lookahead must not be negative, got {self.lookahead}")
        counts = (
            *("vocab", "text_blocks", "temporal_blocks", "expressive_blocks", "d_voice"),
            *("d_style", "decoder_width", "decoder_blocks"),
        )
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        _ = self.mixer

    @property
    def conv_ahead(self) -> tuple[int, ...]:
        """Text tokens that each of the text encoder's convolutions sees ahead: half of its taps, while the
        look-ahead has as many left."""
        left = N_CONVS * (TAPS // 2) if self.lookahead is None else self.lookahead
        found = []
        for _ in range(N_CONVS):
            found.append(min(TAPS // 2, left))
            left -= found[-1]
        return tuple(found)

    @property
    def block_ahead(self) -> int:
        """What is left of a bounded look-ahead for the text encoder's first block."""
        return 0 if self.lookahead is None else self.lookahead - sum(self.conv_ahead)

    @property
    def mixer(self) -> BackboneSizes:
        """Of the backbone's mixers; its depth and feed-forward width have no meaning here."""
        return BackboneSizes(
            d_model=self.d_model,
            n_layers=1,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads,
            head_dim=self.head_dim,
            d_ff=1,
            rope_theta=1e4,
        )


REFERENCES = ("ge2e", "ref_mel", "both")
