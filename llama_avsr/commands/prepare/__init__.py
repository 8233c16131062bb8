"""Make, convert or check data sets.

One file of this folder is one command, and the file's name is the command's; see
`llama_avsr.commands._dispatch`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from llama_avsr.commands._dispatch import dispatch


def main(argv: Sequence[str] | None = None, called: str | None = None) -> int:
    """Run one command; returns its exit status."""
    return dispatch(__name__, sys.argv[1:] if argv is None else argv, called)
