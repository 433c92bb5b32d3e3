"""Sizes of tiny MambaVoiceCloning models."""

from dataclasses import asdict, replace

from mamtra.mvc.sizes import ArmSizes, MVCSizes

ARM = ArmSizes(
    d_model=16,
    n_heads=4,
    n_kv_heads=2,
    head_dim=8,
    text_blocks=1,
    temporal_blocks=1,
    expressive_blocks=1,
    d_voice=6,
    d_style=4,
    reference="ge2e",
    lookahead=None,
    decoder_width=16,
    decoder_blocks=1,
)
SMALLEST = MVCSizes(**asdict(ARM), vocab=12)
TINY = replace(SMALLEST, text_blocks=2, expressive_blocks=2, decoder_blocks=2)
