"""YAML from files of unknown origin: bounded before anything is made of it.

A few lines can stand for gigabytes (aliases of aliases), and values that are not what their tag says fail in
every way there is.
"""

from __future__ import annotations

from typing import Any

import yaml

MAX_NODES = 10_000
"""Values of a document, each alias counted as what it stands for."""
MAX_SCALAR = 100_000
"""Characters of one value."""


def compose(text: str) -> tuple[yaml.SafeLoader, yaml.Node | None]:
    """The document's nodes, and what makes values of them. Raises ValueError for none, or too many."""
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is not None:
            _size(root, {})
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())[:300]}") from None
    except RecursionError:
        raise ValueError("not YAML as expected: values in too many layers") from None
    return loader, root


def construct(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    """The value of a node. Raises ValueError where its text is not what its tag says."""
    try:
        return loader.construct_object(node, deep=True)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML of plain values: {' '.join(str(error).split())[:300]}") from None
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        kind = node.tag.rpartition(":")[2]
        raise ValueError(f"not a value of the kind {kind[:40]} ({type(error).__name__})") from None


def load(text: str) -> Any:
    """The document's value. Raises ValueError where it is none."""
    loader, root = compose(text)
    return None if root is None else construct(loader, root)


def _size(node: yaml.Node, sizes: dict[int, int | None]) -> int:
    """Values below a node."""
    if id(node) in sizes:
        known = sizes[id(node)]
        if known is None:
            raise ValueError("a value that holds itself")
        return known
    sizes[id(node)] = None
    total = 1
    if isinstance(node, yaml.ScalarNode):
        if len(node.value) > MAX_SCALAR or (node.tag.endswith(("int", "float")) and len(node.value) > 1000):
            raise ValueError(f"a value of {len(node.value)} characters")
    elif isinstance(node, yaml.MappingNode):
        total += sum(_size(part, sizes) for pair in node.value for part in pair)
    else:
        total += sum(_size(part, sizes) for part in node.value)
    if total > MAX_NODES:
        raise ValueError(f"more than {MAX_NODES} values, through aliases or written out")
    sizes[id(node)] = total
    return total
