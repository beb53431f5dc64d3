"""Grey images are shown to networks of several channels as so many equal ones; others are refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vol2vol import nets
from vol2vol.errors import BadInput


@given(st.integers(1, 3), st.integers(1, 4), st.integers(2, 3))
def test_only_a_single_channel_is_repeated(has, reads, dims):
    image = torch.rand(2, has, *(3,) * dims)
    if has not in (1, reads):
        with pytest.raises(BadInput, match=f"{has} channels cannot be shown to a network that reads {reads}"):
            nets.repeated(image, reads)
        return
    shown = nets.repeated(image, reads)
    assert shown.shape == (2, reads, *(3,) * dims)
    assert all(torch.equal(shown[:, c], image[:, min(c, has - 1)]) for c in range(reads))


def test_calibration_measures_grey_images_as_they_are_shown():
    torch.manual_seed(0)
    one, two = (nets.build("resnet", dims=2, in_channels=3, width=2, blocks=1) for _ in range(2))
    two.load_state_dict(one.state_dict())
    grey = torch.rand(2, 1, 32, 32)
    nets.calibrate(one, [grey])
    nets.calibrate(two, [grey.repeat(1, 3, 1, 1)])
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), two.buffers(), strict=True))
