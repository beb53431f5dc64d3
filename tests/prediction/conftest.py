"""Small trained-looking models and volumes."""

import numpy as np
import pytest
import torch

from vol2vol import nets
from vol2vol.intensity import fixed
from vol2vol.models.bundle import save_bundle
from vol2vol.protocol import between
from vol2vol.volumes import create_volume

torch.set_num_threads(1)


def network(dims, *, levels=2, seed=0, **arguments):
    """A U-Net with random weights and made-up statistics, whose output has contrast."""
    torch.manual_seed(seed)
    net = nets.build("unet", dims=dims, levels=levels, width=4, norm="calibrated", **arguments)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d | torch.nn.ConvTranspose2d | torch.nn.ConvTranspose3d):
            torch.nn.init.normal_(module.weight, 0, 0.25)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    torch.manual_seed(seed)
    size = nets.footprint(net).admissible(40, 0, at_least=True)
    nets.calibrate(net, [torch.randn(2, net.in_channels, *(size,) * dims)])
    return net.eval()


def write_volume(path, array, *, voxel_size=(8, 8, 8), chunks=(16, 16, 16)):
    """Write (C, Z, Y, X) or (Z, Y, X) as OME-Zarr."""
    array = array[None] if array.ndim == 3 else array
    volume = create_volume(
        path, shape=array.shape, dtype=array.dtype, voxel_size=voxel_size, unit="nanometer", chunks=chunks
    )
    from vol2vol.geometry import Box

    volume.write(Box.of(volume.spatial), array)
    volume.flush()
    return path


def done_blocks(output):
    """The names of the blocks of an unfinished output that are marked as done."""
    from vol2vol.volumes.ledger import Ledger

    ledger = Ledger.of(str(output))
    return ledger.marks(ledger.plan()["begun"]).done


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Bundles by number of dimensions."""
    folder = tmp_path_factory.mktemp("models")
    grey = fixed(0, 255)
    for dims in (2, 3):
        both = {"forward": network(dims), "backward": network(dims, seed=1)}
        one = {"source": 1, "target": 1}
        save_bundle(
            folder / f"{dims}d", between(both), {"source": grey, "target": grey}, channels=one, provenance={"patch": 30}
        )
    return {dims: folder / f"{dims}d" for dims in (2, 3)}


@pytest.fixture(scope="session")
def volume(tmp_path_factory):
    """A uint8 volume of awkward size."""
    array = np.random.default_rng(0).integers(0, 256, (19, 53, 61), dtype=np.uint8)
    return write_volume(tmp_path_factory.mktemp("volumes") / "in.zarr", array)
