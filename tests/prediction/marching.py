"""A march written again, plainly: tile by tile in raster order over a canvas; and models to march with."""

from itertools import product

import numpy as np
import torch

from vol2vol import nets
from vol2vol.intensity import fixed
from vol2vol.models.bundle import load_bundle, save_bundle
from vol2vol.prediction.engine import Engine
from vol2vol.protocol import March, OnePass, Translation

GREY = fixed(0, 255)


def starts(size, tile, step):
    found = [0]
    while found[-1] + tile < size:
        found.append(found[-1] + step)
    return found


def raster(image, network, *, tile, overlap, keep, encoded=2.0, to=np.uint8, planar=False):
    """March over an image ([Z,] Y, X) of stored grey values, one tile at a time; return stored values."""
    if planar:
        how = {"tile": tile, "overlap": overlap, "keep": keep, "encoded": encoded, "to": to}
        return np.stack([raster(plane, network, **how) for plane in image])
    places = [starts(n, t, t - o) for n, t, o in zip(image.shape, tile, overlap, strict=True)]
    ends = [p[-1] + t for p, t in zip(places, tile, strict=True)]
    pads = [(0, max(0, e - n)) for e, n in zip(ends, image.shape, strict=True)]
    canvas = GREY.to_network(np.pad(image, pads, "reflect")[None])[0]  # a constant of one voxel is repeated
    output = np.zeros(canvas.shape, to)
    for corner in product(*places):
        box = tuple(slice(a, a + t) for a, t in zip(corner, tile, strict=True))
        made = network(canvas[box].copy()[None, None])[0]
        stored = made[0] if to is np.float32 else GREY.from_network(made, np.dtype(to))[0]
        shown = stored if to is np.float32 else GREY.to_network(stored[None])[0]
        cut = tuple(slice(k if a else 0, None) for a, k in zip(corner, keep, strict=True))
        canvas[box][cut] = shown[cut] + np.float32(encoded)
        output[box][cut] = stored[cut]
    return output[tuple(slice(n) for n in image.shape)]


def model(folder, dims, *, stitching=True, norm="instance", share=(0.01, 0.99), offset=2.0, patch=16):
    """Save a model whose output depends on the tile, on the place in it and on all that is shown; return its path."""
    torch.manual_seed(dims)
    net = nets.build("unet", dims=dims, levels=2, width=2, norm=norm)
    for module in net.modules():
        if hasattr(module, "weight"):
            torch.nn.init.normal_(module.weight, 0, 0.4)
    if norm == "calibrated":
        size = nets.footprint(net).admissible(40, 0, at_least=True)
        nets.calibrate(net, [torch.randn(2, 1, *(size,) * dims)])
    applied = March(share=share, offset=offset) if stitching else OnePass()
    translation = Translation(network=net, reads=("source",), makes=("target",), applied=applied)
    return save_bundle(
        folder,
        {"forward": translation},
        {"source": GREY, "target": GREY},
        channels={"source": 1, "target": 1},
        provenance={"patch": patch},
    )


def network_of(path):
    """The network of a model as a march runs it: a function of arrays (1, C, [Z,] Y, X)."""
    net = load_bundle(path).network("forward")
    engine = Engine.of(nets.padded(net if nets.tile_dependent(net) else nets.frozen(net)))
    return lambda tiles: engine.run(tiles)
