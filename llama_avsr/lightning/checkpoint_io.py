"""How Lightning comes by checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_fabric.plugins import CheckpointIO

from llama_avsr.checkpoints import durable, folder


class FolderCheckpointIO(CheckpointIO):
    """Lets Lightning write and read its checkpoints as folders (`checkpoints.folder`)."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        resume = {key: value for key, value in checkpoint.items() if key != "state_dict"}
        about = {folder.PROGRESS: folder.progress(checkpoint)}
        folder.write(Path(path), checkpoint["state_dict"], self.options, resume, about)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return {**folder.read_resume(Path(path)), "state_dict": folder.read_state(Path(path))}

    def remove_checkpoint(self, path: Any) -> None:
        durable.remove(Path(path))
