"""A checkpoint made ready for others: its weights, its options without what is this machine's, a card."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import try_to_load_from_cache

from llama_avsr.checkpoints.folder import CONFIG, PROGRESS, WEIGHTS, WORDS, WORKING_FOLDER
from llama_avsr.checkpoints.integrity import FILES, digest, sealed
from llama_avsr.checkpoints.model_card import Card, Part, without_paths
from llama_avsr.checkpoints.run_folder import AVERAGED
from llama_avsr.checkpoints.source import Checkpoint
from llama_avsr.model.builtin import PREFIX, located
from llama_avsr.options import FIELDS, to_dict

LOGGER = logging.getLogger(__name__)
CARD = "README.md"
SUMMARY = "summary.json"
ROLES = {
    "llm_model": "language model",
    "audio_encoder_name": "audio encoder",
    "video_encoder_name": "video encoder",
    "pretrain_avhubert_enc_video_path": "video encoder",
    "pretrain_avhubert_enc_audio_path": "audio encoder (AV-HuBERT)",
    "pretrain_avhubert_enc_audiovisual_path": "audio-visual encoder",
    "units_centroids": "centroids of the visual units",
}


def prepare(
    source: Checkpoint, name: str, out: Path, license: str = "other", train_hours: float | None = None
) -> None:
    """Write `config.yaml`, `model.safetensors` and the card of `user/model` into a folder.

    What others will not be able to load is warned of in the log.
    """
    source.read_state()  # damage is noticed here, not by whoever downloads it
    out.mkdir(parents=True, exist_ok=True)
    config = public_config(source)
    (out / CONFIG).write_bytes(sealed(yaml.safe_dump(config, sort_keys=False)))
    for file in config[FILES]:
        shutil.copyfile(source.folder / file, out / file)
    parts = parts_of(source)
    for part in parts:
        if part.is_local:
            LOGGER.warning(
                "%s names a local model, %s: others must say where theirs is to load the checkpoint",
                part.flag,
                part.name,
            )
    card = Card(
        name=name,
        options=config["options"],
        parts=parts,
        versions=config.get("versions", {}),
        results=results_of(source),
        license=license,
        train_hours=train_hours,
        averaged=config.get(AVERAGED, ()),
    )
    (out / CARD).write_text(str(card), encoding="utf-8")


def public_config(source: Checkpoint) -> dict[str, Any]:
    """A checkpoint's config without what is this machine's."""
    options = to_dict(source.trained)
    kept = {
        group: {name: value for name, value in values.items() if not FIELDS[name].scope.private}
        for group, values in options.items()
    }
    config = {key: value for key, value in source.config.items() if key not in (WORKING_FOLDER, PROGRESS)}
    files = {WEIGHTS: source.provenance["sha256"]}
    if (source.folder / WORDS).is_file():
        files[WORDS] = digest(source.folder / WORDS)
    return {**config, FILES: files, "options": without_paths(kept)}


def parts_of(source: Checkpoint) -> list[Part]:
    """The pretrained models that the checkpoint's modality uses."""
    options = source.trained
    choices = [options.encoder_of(slot) for slot in options.slots]
    used = {"llm_model", *(choice.option for choice in choices if choice is not None)}
    if options.chooses("compressors", "units"):
        used.add("units_centroids")
    parts = []
    for field, role in ROLES.items():
        if field in used and options[field] is not None:
            name = str(options[field])
            path = Path(located(name))
            is_local = not name.startswith(PREFIX) and (path.is_absolute() or path.exists())
            shown = Path(name).name if is_local else name
            parts.append(
                Part(
                    role=role,
                    flag=FIELDS[field].flag,
                    name=shown,
                    is_local=is_local,
                    license=license_of(name, is_local),
                )
            )
    return parts


def license_of(name: str, is_local: bool) -> str | None:
    """The licence that a model's own card names, where the card is on this machine."""
    if name.startswith(PREFIX):
        return "as llama-avsr's"
    if is_local:
        folder = Path(name) if Path(name).is_dir() else Path(name).parent
        return _license_in_card(folder / CARD)
    try:
        cached = try_to_load_from_cache(name, CARD)
    except ValueError:  # no hub name
        return None
    return _license_in_card(Path(cached)) if isinstance(cached, str) else None


def results_of(source: Checkpoint) -> list[dict[str, Any]]:
    """What evaluations have left beside the checkpoint."""
    found = []
    for path in sorted(source.results.glob(f"*/{SUMMARY}")):
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except ValueError:
            LOGGER.warning("%s: not JSON; left out of the card", path)
    return found


def _license_in_card(path: Path) -> str | None:
    try:
        _, front, _ = path.read_text(encoding="utf-8").split("---", 2)
        found = yaml.safe_load(front)
        named = found.get("license_name") if found.get("license") == "other" else None
        return str(named or found["license"])
    except (OSError, ValueError, KeyError, AttributeError, yaml.YAMLError):
        return None
