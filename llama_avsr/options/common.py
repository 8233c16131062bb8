"""Groups that many programs have."""

from __future__ import annotations

from llama_avsr.options.fields import group


@group()
class LoggingOptions:
    """Logging"""

    debug: bool = False
    """Log more, and show the traceback of an error."""
