"""Sizes that cannot be built are refused by name."""

import pytest

from mamtra.backbone.sizes import BackboneSizes

GOOD = {"d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 8, "d_ff": 64}


def test_derived_widths():
    sizes = BackboneSizes(**GOOD)
    assert (sizes.d_inner, sizes.d_kv, sizes.group) == (32, 16, 2)
    assert (sizes.n_states, BackboneSizes(**GOOD, state="shared").n_states) == (4, 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("d_model", 0),
        ("n_layers", -1),
        ("n_kv_heads", 3),
        ("head_dim", 7),
        ("d_conv", 1),
        ("chunk", 0),
        ("rope_theta", 0.0),
        ("norm_eps", 0.0),
        ("state", "one"),
        ("state_dtype", "fp8"),
    ],
)
def test_bad_sizes_name_the_field(field, value):
    with pytest.raises(ValueError, match=field):
        BackboneSizes(**{**GOOD, field: value})
