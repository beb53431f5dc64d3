"""One message refuses NaN and infinite voxels, and names the first of them in the volume."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vol2vol.errors import BadInput
from vol2vol.finite import need_finite


@given(
    shape=st.tuples(*[st.integers(1, 5)] * 4),
    start=st.tuples(*[st.integers(0, 1000)] * 3),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
    data=st.data(),
)
def test_the_first_voxel_in_reading_order_is_named(shape, start, dtype, bad, data):
    values = np.ones(shape, dtype)
    assert need_finite(values, "a.zarr", start) is values
    positions = data.draw(st.lists(st.integers(0, values.size - 1), min_size=1))
    values.flat[positions] = bad
    first = min(np.unravel_index(position, shape)[1:] for position in positions)
    where = str(tuple(int(a + b) for a, b in zip(first, start, strict=True)))
    if shape[0] > 1:
        where += f" of channel {np.flatnonzero(values[(slice(None), *first)] != 1)[0]}"
    with pytest.raises(BadInput) as error:
        need_finite(values, "a.zarr", start, then=" and predict again")
    assert str(error.value) == (
        f"a.zarr holds NaN or infinity at voxel {where}: replace it by a number in the file and predict again"
    )
    with pytest.raises(BadInput, match=r"^a\.zarr holds NaN or infinity: replace it by a number in the file$"):
        need_finite(values, "a.zarr")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "bool"])
def test_integers_pass_unchanged(dtype):
    values = np.ones((1, 2, 3, 5), dtype)
    assert need_finite(values, "a.zarr", (0, 0, 0)) is values
