"""Widths and counts that define a backbone, validated once."""

from dataclasses import dataclass

PER_HEAD, SHARED = "per_head", "shared"
STATES = (PER_HEAD, SHARED)
STATE_DTYPES = ("fp32", "bf16")


@dataclass(frozen=True)
class BackboneSizes:
    """Geometry shared by every layer of a decoder stack.

    Mamba layers use the same heads: x and B have `n_kv_heads` heads of `head_dim`, C and the
    gate have `n_heads`, and the state of one head is `head_dim x head_dim`. `mamba_rope` rotates B
    and C by position as the teacher rotates k and q (MamTra drops positions in Mamba layers).
    `state` says what has a decay and a step size in Mamba layers: every query head ("per_head"), or every
    key/value head ("shared"). Then the query heads of a group, which write the same x and B, read one state.
    `state_dtype` is what decoding keeps recurrent states in ("fp32", "bf16"); they are computed in fp32.
    `window` is how many generated positions a window layer sees.
    `text_rate` belongs to the language model's input: text units per speech token for its progress
    features, 0 for none (see mamtra.lm.progress).

    The fields with a default are what a checkpoint may leave out: one that is added here takes as its default
    what models were before it.
    Raises ValueError, naming the field, for any size the layers cannot be built with.
    """

    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    rope_theta: float = 1e6
    norm_eps: float = 1e-6
    d_conv: int = 4
    chunk: int = 64
    mamba_rope: bool = False
    text_rate: float = 0.0
    window: int = 32
    state: str = PER_HEAD
    state_dtype: str = "fp32"

    def __post_init__(self) -> None:
        counts = ("d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff", "chunk")
        counts += ("window",)
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, valid in (("state", STATES), ("state_dtype", STATE_DTYPES)):
            if getattr(self, name) not in valid:
                raise ValueError(
                    f"{name}={getattr(self, name)!r}: it must be one of {', '.join(valid)}"
                )
        if self.d_conv < 2:
            raise ValueError(f"d_conv must be at least 2, got {self.d_conv}")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_heads ({self.n_heads}) must be a multiple of n_kv_heads ({self.n_kv_heads})"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for rotary positions, got {self.head_dim}")
        if self.rope_theta <= 0:
            raise ValueError(f"rope_theta must be positive, got {self.rope_theta}")
        if self.text_rate < 0:
            raise ValueError(f"text_rate must not be negative, got {self.text_rate}")
        if self.norm_eps <= 0:
            raise ValueError(f"norm_eps must be positive, got {self.norm_eps}")

    @property
    def d_inner(self) -> int:
        """Width of all query heads together (also of z, C and y)."""
        return self.n_heads * self.head_dim

    @property
    def d_kv(self) -> int:
        """Width of all key/value heads together (also of x and B before the repeat)."""
        return self.n_kv_heads * self.head_dim

    @property
    def group(self) -> int:
        """Query heads that share one key/value head."""
        return self.n_heads // self.n_kv_heads

    @property
    def n_states(self) -> int:
        """Recurrent states of a Mamba layer, each with a decay of its own."""
        return self.n_kv_heads if self.state == SHARED else self.n_heads
