"""Read untrusted YAML as plain data, by the safe loader of pyyaml, with limits and a single kind of error."""

from __future__ import annotations

from typing import Any

import yaml

from vol2vol.errors import one_line

MAX_NODES = 100_000
"""Maximum number of nodes that aliases may add to a document."""
MAX_DIGITS = 1000
"""Maximum digits of an integer; Python refuses to print integers of several thousand digits."""
_INTEGER = "tag:yaml.org,2002:int"


def load(text: str) -> Any:
    """Return the data of a YAML document; nothing is executed, aliases and merge keys are resolved.

    Raises `yaml.YAMLError` where the document is invalid, where aliases add more than `MAX_NODES` nodes, where it
    contains itself or is nested too deeply, and for numbers and dates that Python cannot represent.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        known: dict[int, int | None] = {}
        if _size(node, known) - len(known) > MAX_NODES:
            raise yaml.YAMLError(f"its aliases add more than {MAX_NODES} nodes: write it without aliases")
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, OverflowError, LookupError, TypeError, AttributeError) as error:  # of `!!int x` and the like
        raise yaml.YAMLError(f"a value cannot be read: {one_line(error, 100)}") from None
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Count the nodes of a document with its aliases expanded; `known` caches the count of every node, by id."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise yaml.YAMLError("a part of it contains itself")
        return size
    if node.tag == _INTEGER and len(node.value) > MAX_DIGITS:
        raise yaml.YAMLError(f"a whole number has {len(node.value)} digits")
    known[id(node)] = None
    parts: list[Any] = [] if isinstance(node, yaml.ScalarNode) else node.value
    children = [child for part in parts for child in (part if isinstance(part, tuple) else (part,))]
    size = known[id(node)] = 1 + sum(_size(child, known) for child in children)
    return size
