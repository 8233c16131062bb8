"""What the commands that read label files share."""

from __future__ import annotations

from typing import Literal

FORMATS = ("formats",)
"""The plug-ins whose options are among a command's."""
Media = tuple[Literal["audio", "video"], ...]
