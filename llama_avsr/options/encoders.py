"""Which encoder the options choose for a slot of the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datamodules import registry
from llama_avsr.options.plugins import package_of

if TYPE_CHECKING:
    from llama_avsr.tasks import EncoderSlot

AVHUBERT = "avhubert"
"""The plug-in that reads AV-HuBERT checkpoints."""


@dataclass(frozen=True)
class EncoderChoice:
    plug_in: str | None
    """None: the config of what `name` stands for says which."""
    name: str
    """Hub name, folder or file of the weights; empty where the encoder was chosen by its own name alone."""
    option: str
    """The option that says so."""


def choose_encoder(slot: EncoderSlot, named: str | None, path: Path | None) -> EncoderChoice | None:
    """named: value of the option that names an encoder; path: AV-HuBERT's checkpoint."""
    if named is None:
        return None if path is None else EncoderChoice(AVHUBERT, str(path), slot.avhubert_by)
    own, _, weights = named.partition(":")
    # A folder of weights may be called as an encoder is.
    plug_in = None if Path(named, "config.json").is_file() else _own_names().get(_plain(own))
    if plug_in == AVHUBERT and not weights:
        return None if path is None else EncoderChoice(AVHUBERT, str(path), slot.avhubert_by)
    if plug_in is not None:
        return EncoderChoice(plug_in, weights, slot.named_by)
    return EncoderChoice(None, named, slot.named_by)


def _own_names() -> dict[str, str]:
    """Spelled without hyphens: `av-hubert` and `avhubert` are one."""
    return {_plain(name): name for name in registry.names(package_of("encoders"))}


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").lower()
