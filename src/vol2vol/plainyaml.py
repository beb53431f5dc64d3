"""YAML of strangers as plain data: pyyaml's safe loader, bounded, and with one kind of error."""

from __future__ import annotations

from typing import Any

import yaml

from vol2vol.errors import one_line

MOST = 100_000
"""Nodes by which a document may grow when its aliases are written out."""
DIGITS = 1000
"""Letters of a whole number; Python cannot write one of some thousand digits."""
_INTEGER = "tag:yaml.org,2002:int"


def load(text: str) -> Any:
    """Return what a YAML document says; nothing in it is executed, aliases and merge keys are followed.

    Raises `yaml.YAMLError` where it cannot be read: also where it would grow by more than `MOST` nodes, holds itself,
    is nested too deeply, or has a number or date that Python cannot hold.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        known: dict[int, int | None] = {}
        if _size(node, known) - len(known) > MOST:
            raise yaml.YAMLError(f"its aliases make more than {MOST} nodes: write it without them")
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, OverflowError, LookupError, TypeError, AttributeError) as error:  # of `!!int x` and the like
        raise yaml.YAMLError(f"a value cannot be read: {one_line(error, 100)}") from None
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Count the nodes of a document whose aliases are written out; `known` gets those of every node, each seen once."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise yaml.YAMLError("a part of it holds itself")
        return size
    if node.tag == _INTEGER and len(node.value) > DIGITS:
        raise yaml.YAMLError(f"a whole number has {len(node.value)} letters")
    known[id(node)] = None
    parts: list[Any] = [] if isinstance(node, yaml.ScalarNode) else node.value
    inner = [one for part in parts for one in (part if isinstance(part, tuple) else (part,))]
    size = known[id(node)] = 1 + sum(_size(one, known) for one in inner)
    return size
