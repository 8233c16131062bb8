"""Pack the clips of a label file into tar shards."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from llama_avsr.commands.prepare import _labels
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import PositiveInt


@group()
class PackOptions:
    """Shards"""

    labels: Path | None = option(None, positional=True, required=True)
    """Label file of the clips to pack: a path, or a name in ROOT_DIR/labels."""
    root_dir: Path | None = option(None, required=True)
    """Root of the data set."""
    out: Path | None = None
    """Label file to write, .shards; the shards go beside it. Default: ROOT_DIR/labels/LABELS.shards."""
    clips_per_shard: PositiveInt = 1000
    """Clips in a shard."""
    modality: Literal["audio", "video", "audiovisual"] = "audiovisual"
    """What is packed of each clip."""
    address: str = ""
    """Where the shards will be read from, if not beside the label file: an address that fsspec opens, such as
    s3://bucket/lrs3. They are still written beside it; copy them there."""
    overwrite: bool = False
    """Replace shards of the same name."""


@dataclass(frozen=True, kw_only=True)
class Options:
    pack: PackOptions = field(default_factory=PackOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)
    plugins: dict[str, dict[str, Any]] = field(default_factory=lambda: SCHEMA.plugin_defaults())


SCHEMA = Schema(Options, _labels.FORMATS)
PROGRAM = Program(
    name="prepare pack",
    title=(
        "Pack the clips of a label file into tar shards: few large files, which network disks and object "
        "stores read faster than many small ones. The .shards file that is written is a label file."
    ),
    words="LABELS [flags]",
    schema=SCHEMA,
)


def run(options: Options) -> None:
    from datamodules import formats
    from preparation.labels.pack import SUFFIX, pack

    asked = options.pack
    media = ("audio", "video") if asked.modality == "audiovisual" else (asked.modality,)
    path = formats.find(asked.labels, asked.root_dir)
    own = {name.removeprefix("formats/"): values for name, values in options.plugins.items()}
    clips = formats.read(path, asked.root_dir, media, own)
    target = asked.out or asked.root_dir / "labels" / (path.stem + SUFFIX)
    packing = pack(clips, target, media, asked.clips_per_shard, asked.address, asked.overwrite)
    print(f"{packing.label_file}: {packing.num_clips} clips; shards: {len(packing.shards)}")
