"""Visual units: AV-HuBERT features, k-means centroids, and each clip's units and run lengths."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av_hubert.units import Centroids

HELP = "visual units: features of AV-HuBERT, k-means, run lengths"
DESCRIPTION = (
    "Make visual units in three steps: `extract` writes features of one AV-HuBERT layer, `fit` finds k-means "
    "centroids of a share of them, `apply` writes each clip's units (SPLIT.km) and the lengths of their runs "
    "(SPLIT.cluster_counts). `convert` turns others' centroids (.joblib) into a file without code. "
    "See docs/units.md."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    for name, (step_help, description, add, run_step) in _STEPS.items():
        step = steps.add_parser(name, help=step_help, description=description, allow_abbrev=False)
        add(step)
        step.set_defaults(run_step=run_step)


def run(arguments: argparse.Namespace) -> None:
    arguments.run_step(arguments)


def _add_extract(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root-dir", type=Path, required=True, help="root of the data set", metavar="DIR")
    parser.add_argument(
        "--label-file",
        required=True,
        help="label file of any format, or its name in DIR/labels",
        metavar="FILE",
    )
    parser.add_argument(
        "--encoder", type=Path, required=True, help="AV-HuBERT: a fairseq .pt or a folder", metavar="PATH"
    )
    parser.add_argument(
        "--layer",
        type=int,
        default=12,
        help="layer whose raw output is taken, from 1; 0 is the input (%(default)s)",
        metavar="K",
    )
    parser.add_argument(
        "--audio",
        choices=("silent", "absent"),
        default="silent",
        help="beside the video: a tensor of zeros, as for the published units, or nothing (%(default)s)",
    )
    parser.add_argument("--out-dir", type=Path, required=True, help="folder for the shards", metavar="DIR")
    parser.add_argument(
        "--split", help="name of the shards (the label file's, without suffix)", metavar="NAME"
    )
    parser.add_argument(
        "--nshard",
        type=int,
        help="parts the label file is cut into (processes of torchrun or srun, else 1)",
        metavar="N",
    )
    parser.add_argument(
        "--rank",
        type=int,
        help="which part this process makes, from 0 (rank under torchrun or srun)",
        metavar="R",
    )
    parser.add_argument(
        "--max-frames",
        type=int,
        default=1500,
        help="video frames of a batch, padding included (%(default)s)",
        metavar="N",
    )
    parser.add_argument(
        "--num-workers",
        type=int,
        help="processes that decode video (one for every core, at most 8)",
        metavar="N",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="make the shard anew, whatever lies there under its name"
    )


def _add_fit(parser: argparse.ArgumentParser) -> None:
    _add_features(parser)
    parser.add_argument(
        "--num-clusters", type=int, default=200, help="number of units (%(default)s)", metavar="K"
    )
    parser.add_argument(
        "--percent",
        type=_share,
        default=0.1,
        help="share of each shard's clips to fit to, 0 to 1, or `all` (%(default)s)",
        metavar="P",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="chooses clips and frames (%(default)s)", metavar="N"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="centroids to write, .npz or .safetensors", metavar="FILE"
    )
    parser.add_argument(
        "--scratch-dir",
        type=Path,
        help="where the drawn features are kept while fitting, 4 bytes a value (beside --out)",
        metavar="DIR",
    )


def _add_apply(parser: argparse.ArgumentParser) -> None:
    _add_features(parser)
    parser.add_argument(
        "--centroids",
        type=Path,
        required=True,
        help="what `fit` wrote, or a k-means model stored by joblib",
        metavar="FILE",
    )
    parser.add_argument(
        "--out-dir",
        type=Path,
        required=True,
        help="folder for SPLIT.km and SPLIT.cluster_counts",
        metavar="DIR",
    )


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=Path, help="k-means model stored by joblib or pickle; nothing in it is run"
    )
    parser.add_argument("out", type=Path, help=".npz or .safetensors to write")
    _add_kind(parser, "of the features that the model was fitted to")


def _add_features(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--features-dir", type=Path, required=True, help="folder that `extract` wrote to", metavar="DIR"
    )
    parser.add_argument("--split", required=True, help="name of the shards", metavar="NAME")
    _add_kind(parser, "of features that have no .json beside them")


def _add_kind(parser: argparse.ArgumentParser, whose: str) -> None:
    parser.add_argument("--layer", type=int, help=f"layer {whose}", metavar="K")
    parser.add_argument("--audio", choices=("silent", "absent"), help=f"audio mode {whose}")


def _share(text: str) -> float | None:
    """`all` (or -1, as some scripts write it) is None: every clip, as they lie."""
    if text in ("all", "-1"):
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a share from 0 to 1, or all") from None


def _extract(arguments: argparse.Namespace) -> None:
    import os

    import av_hubert
    from datamodules import formats
    from preparation.units import extraction

    rank, nshard = extraction.launched_shard(arguments.rank, arguments.nshard)
    label_path = formats.find(arguments.label_file, arguments.root_dir)
    utterances = formats.read(label_path, arguments.root_dir, media=("video",))
    device = extraction.default_device()
    num_workers = arguments.num_workers
    if num_workers is None:
        num_workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, 8)
    made = extraction.extract_shard(
        av_hubert.load_checkpoint(arguments.encoder).to(device),
        utterances,
        arguments.out_dir,
        split=arguments.split or label_path.stem,
        layer=arguments.layer,
        audio=arguments.audio,
        rank=rank,
        nshard=nshard,
        max_frames=arguments.max_frames,
        num_workers=num_workers,
        overwrite=arguments.overwrite,
    )
    state = "was there already" if made.was_there else f"made on {device}"
    size = made.path.stat().st_size / 1e6
    print(f"{made.path}: {made.num_utterances} clips, {made.num_frames} frames, {size:.1f} MB, {state}")
    if made.num_other_lengths:
        print(
            f"  {made.num_other_lengths} clips have other lengths than {label_path} says; "
            "units follow the videos"
        )


def _fit(arguments: argparse.Namespace) -> None:
    from preparation.units import clustering

    centroids, fit = clustering.fit_units(
        arguments.features_dir,
        arguments.split,
        arguments.out,
        num_clusters=arguments.num_clusters,
        share=arguments.percent,
        seed=arguments.seed,
        layer=arguments.layer,
        audio=arguments.audio,
        scratch_dir=arguments.scratch_dir,
    )
    print(_described(arguments.out, centroids))
    print(f"  fitted to {fit.num_frames} frames of {fit.num_utterances} clips")
    print(f"  inertia {fit.inertia:.6g}, {fit.inertia / fit.num_frames:.6g} a frame")
    print(f"  {clustering.usage_in_words(fit.usage)}")


def _apply(arguments: argparse.Namespace) -> None:
    from preparation.units import clustering

    made = clustering.apply_units(
        arguments.features_dir,
        arguments.split,
        arguments.centroids,
        arguments.out_dir,
        layer=arguments.layer,
        audio=arguments.audio,
    )
    print(f"{made.km_path}")
    print(f"{made.counts_path}")
    print(
        f"  {made.num_utterances} clips, {made.num_frames} frames, {made.num_runs} runs: "
        f"{made.tokens_per_frame:.3f} tokens a frame"
    )
    print(f"  {clustering.usage_in_words(made.usage)}")


def _convert(arguments: argparse.Namespace) -> None:
    from av_hubert.units import Centroids, check_suffix

    check_suffix(arguments.out)
    silent_audio = None if arguments.audio is None else arguments.audio == "silent"
    centroids = Centroids.load(arguments.source, arguments.layer, silent_audio)
    centroids.save(arguments.out)
    print(_described(arguments.out, centroids))


def _described(path: Path, centroids: Centroids) -> str:
    audio = "silent" if centroids.silent_audio else "absent"
    size = f"{centroids.num_clusters} centroids of width {centroids.dim}"
    return f"{path}: {size}, layer {centroids.layer}, audio {audio}"


_STEPS = {
    "extract": (
        "features of an AV-HuBERT layer, in shards",
        "Write the raw output of one AV-HuBERT layer for every frame of a label file's clips: "
        "SPLIT_RANK_NSHARD.npy (float32), .len and .json. Started again it goes on where it stopped, and "
        "recognises what is finished. Under torchrun or srun every process makes its own shard.",
        _add_extract,
        _extract,
    ),
    "fit": (
        "k-means centroids of a share of the features",
        "Mini-batch k-means over a share of the clips of every shard. The drawn features lie in a file while "
        "fitting, so that they may be larger than memory.",
        _add_fit,
        _fit,
    ),
    "apply": (
        "units and run lengths from features and centroids",
        "Write SPLIT.km (a unit for every frame) and SPLIT.cluster_counts (lengths of the runs of equal "
        "units), one clip a line, in the label file's order.",
        _add_apply,
        _apply,
    ),
    "convert": (
        "others' centroids (.joblib, .pkl) to .npz or .safetensors",
        "Take the centroids out of a scikit-learn k-means model, without running anything in its file.",
        _add_convert,
        _convert,
    ),
}
