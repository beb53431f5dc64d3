import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.tasks.regions import Image, Region


def unet(**arguments):
    torch.manual_seed(0)
    return nets.build("unet", dims=2, levels=2, width=3, **{"norm": "none", **arguments}).double()


def test_a_patch_is_certain_all_over():
    region = Region.of((5, 7))
    assert region.part(certain=True) == region.part(certain=False) == Box.of((5, 7))


@given(st.integers(14, 70), st.integers(14, 70))
def test_fitted_is_the_largest_admissible_centre(height, width):
    footprint = nets.footprint(unet())
    box = Region.of((height, width)).fitted(footprint).box
    assert footprint.admits(box.shape)
    for size, start, stop in zip((height, width), box.start, box.stop, strict=True):
        assert 0 <= size - (stop - start) < 4
        assert abs(start - (size - stop)) <= 1


def test_too_small_is_named():
    with pytest.raises(BadInput, match="13 voxels do not pass this network: the smallest that fit are 14"):
        Region.of((20, 13)).fitted(nets.footprint(unet()))


@pytest.mark.parametrize("decoder", ["full", "cropped"])
@pytest.mark.parametrize("passes", [1, 2])
def test_certain_voxels_do_not_know_where_the_patch_ends(decoder, passes):
    """Oracle: the same voxels of a larger patch on the same grid have the same values."""
    net = unet(decoder=decoder)
    footprint = nets.footprint(net)
    large = torch.randn(1, 1, 54, 54, dtype=torch.float64)
    small = large[..., 12:-12, 12:-12]
    a, b = Image.of(small), Image.of(large)
    with torch.no_grad():
        for _ in range(passes):
            a, b = (
                Image(net(i.within(r.box)), r.through(footprint)) for i in (a, b) for r in [i.region.fitted(footprint)]
            )
    certain = a.region.certain
    rim = {(1, "full"): 6, (1, "cropped"): 6, (2, "full"): 8 + 6, (2, "cropped"): 12}[passes, decoder]
    assert certain == Box((rim, rim), (30 - rim, 30 - rim))
    assert torch.allclose(a.within(certain), b.within(certain.shift((12, 12))), rtol=0, atol=1e-13)
    if decoder == "full":  # and it is all of them
        for side in [((1, 1), (0, 0)), ((0, 0), (1, 1))]:
            more = certain.grow(*side)
            assert not torch.allclose(a.within(more), b.within(more.shift((12, 12))), rtol=0, atol=1e-13)


def test_through_says_where_the_output_lies():
    net = unet(decoder="cropped").float()
    image = Image.of(torch.randn(2, 1, 31, 33)).through(net, nets.footprint(net))
    assert image.voxels.shape == (2, 1, 18, 18)
    assert image.region.box == Box((6, 7), (24, 25))
    assert image.voxels.dtype == torch.float32
    assert image.within(Box((8, 8), (9, 10))).shape == (2, 1, 1, 2)
