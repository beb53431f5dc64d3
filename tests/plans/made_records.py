"""Records and layouts of predictions that were never run, for tests."""

from vol2vol.geometry import Box, Footprint
from vol2vol.plans.layout import Layout, Pass
from vol2vol.plans.record import Network, Record


def layout(plans, spatial, *, region=None, planar=None, planes=None):
    """Return a layout with one pass per plan; `planar` and `planes` are common values or one per pass."""
    count = len(plans)
    planar = planar if isinstance(planar, list) else [planar] * count
    planes = planes if isinstance(planes, list) else [planes or spatial[0]] * count
    passes = [Pass(plan=p, planar=axis, planes=n) for p, axis, n in zip(plans, planar, planes, strict=True)]
    return Layout(
        spatial=tuple(spatial), region=region or Box.of(spatial), passes=tuple(passes), block=tuple(spatial),
        chunks=(8, 32, 32), memory=0,
    )  # fmt: skip


def footprint(period):
    size = len(period)
    none = (0,) * size
    return Footprint(reach=(none, none), period=tuple(period), residue=none, minimum=(1,) * size, trim=(none, none))


def record(layout_, *, period=(1, 1, 1), **facts):
    """The record of a complete output with this layout."""
    return Record(
        **{
            "version": "0.1.0", "input": "1" * 64, "model": "abc" * 9, "settings": {}, "layout": layout_,
            "input_name": "in.zarr", "checkpoint": "model", "network": Network(name="unet", arguments={}),
            "footprint": footprint(period), "intensity": {}, "training": {}, "complete": True, **facts,
        }
    )  # fmt: skip
