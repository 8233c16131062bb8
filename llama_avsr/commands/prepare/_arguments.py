"""Flags that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from datamodules import registry

if TYPE_CHECKING:
    from preparation.faces.detectors import DetectorOptions
    from preparation.faces.options import CropOptions

DETECTORS = "preparation.faces.detectors"
MAX_GAP_SECONDS = 2.0


def positive_int(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found {text!r}")
    return int(text)


def add_num_workers(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--num-workers", type=int, help="processes (one for every core)", metavar="N")


def add_media(parser: argparse._ActionsContainer, help_text: str) -> None:
    parser.add_argument(
        "--media", nargs="+", choices=("audio", "video"), default=["audio", "video"], help=help_text
    )


def add_path_prefix(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--path-prefix",
        nargs="+",
        action="extend",
        default=[],
        metavar="OLD=NEW",
        help="rewrite the paths of a .tsv that begin with OLD; the first that fits counts",
    )


def path_prefixes(arguments: argparse.Namespace) -> tuple[str, ...]:
    return tuple(arguments.path_prefix)


def add_faces(parser: argparse.ArgumentParser) -> None:
    """Who finds faces, and whose mouth is cut out."""
    faces = parser.add_argument_group("faces")
    faces.add_argument(
        "--speaker",
        type=_speaker,
        default="largest",
        help="where several faces are seen: largest, talking (the mouth that moves most), or a number "
        "counted from the left, 1 first (%(default)s)",
        metavar="WHO",
    )
    faces.add_argument(
        "--detector",
        default="blazeface",
        help=f"who finds faces: {', '.join(registry.names(DETECTORS))} (%(default)s)",
        metavar="NAME",
    )
    faces.add_argument(
        "--detector-model",
        type=Path,
        help="model file for mediapipe's tasks instead of the bundled ones (face_landmarker.task)",
        metavar="FILE",
    )
    faces.add_argument(
        "--landmarks",
        type=Path,
        help="for --detector landmarks: folder with a .npz, .npy, .json or .pkl for each video, under its "
        "name (beside the videos)",
        metavar="DIR",
    )


def add_max_gap(parser: argparse.ArgumentParser, help_text: str) -> None:
    parser.add_argument(
        "--max-gap", type=float, default=MAX_GAP_SECONDS, help=f"{help_text} (%(default)s)", metavar="SECONDS"
    )


def detector_options(arguments: argparse.Namespace) -> DetectorOptions:
    """Raises ValueError with the right names where there is no such detector."""
    from preparation.faces.detectors import DetectorOptions

    name = registry.resolve(DETECTORS, arguments.detector)
    return DetectorOptions(name, arguments.detector_model, arguments.landmarks)


def crop_options(arguments: argparse.Namespace) -> CropOptions:
    from preparation.faces.options import CropOptions

    whole, max_gap = getattr(arguments, "whole", False), getattr(arguments, "max_gap", MAX_GAP_SECONDS)
    return CropOptions(arguments.speaker, whole, max_gap)


def _speaker(text: str) -> str | int:
    return int(text) if text.isdecimal() else text
