"""Manifests and video against what VSP-LLM's own data pipeline recorded; see vsp_llm/data/README.md."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules import formats
from datamodules.media import load_video
from datamodules.transforms import GREY_MEAN, GREY_STD, VideoTransform

FOLDER = Path(__file__).parent / "vsp_llm" / "data"
RECORDED = json.loads((FOLDER / "recorded.json").read_text())
MAX_FRAMES = 500
"""The original drops longer clips; 500 are kept."""
TEXTS = {
    "vsr/en/test": ["the small boat drifts along the quiet river", "she doesn't like rain"],
    "vst/en/es/test": ["el barco pequeño navega por el río tranquilo", "a ella no le gusta la lluvia"],
    "mix/train": [
        "the small boat drifts along the quiet river",
        "el barco pequeño navega por el río tranquilo",
    ],
}


@pytest.fixture(scope="module")
def video():
    with np.load(FOLDER / "video_a.npz") as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.mark.parametrize("name", TEXTS)
def test_manifests(name):
    recorded = RECORDED[name]
    media = () if name == "mix/train" else ("audio", "video")
    utterances = [
        utterance
        for utterance in formats.read(FOLDER / f"{name}.tsv", FOLDER, media)
        if utterance.num_frames <= MAX_FRAMES
    ]
    assert len(utterances) == recorded["len"]
    assert [utterance.num_frames for utterance in utterances] == recorded["sizes"]
    assert [" ".join(map(str, u.run_lengths)) for u in utterances] == recorded["cluster_counts"]
    for utterance, (video_path, audio_and_id) in zip(utterances, recorded["names"], strict=True):
        audio_path, _, row_id = audio_and_id.partition(":")
        assert utterance.video_path == FOLDER / video_path
        assert utterance.audio_path == FOLDER / audio_path
        assert utterance.languages == tuple(row_id.removeprefix("lrs3/").split("-"))
    assert [utterance.text for utterance in utterances[:2]] == TEXTS[name]
    assert len({utterance.id for utterance in utterances}) == len(utterances)


def test_grey_frames(video):
    decoded = load_video(FOLDER / "clips/a.mp4", 19)
    assert (decoded.int() - video["grey"].int()).abs().max() <= 2


def test_test_video(video):
    transformed = VideoTransform(train=False)(video["grey"], torch.Generator())
    assert torch.allclose(transformed, video["test"][..., 0], atol=1e-5)


def test_training_video_is_one_of_our_draws(video):
    [drawn] = [item["aug"] for item in RECORDED["mix/train"]["items"] if item["key"] == "mix_train_0"]
    assert drawn["flip"]
    clip = (video["grey"].float() / 255 - GREY_MEAN) / GREY_STD
    top, left = drawn["delta_h"], drawn["delta_w"]
    crop = clip[:, top : top + 88, left : left + 88].flip(-1)
    assert torch.allclose(crop, video["train"][..., 0], atol=1e-5)
    train = VideoTransform(train=True, augmentation="flip")
    draws = (train(video["grey"], torch.Generator().manual_seed(seed)) for seed in range(2000))
    assert any(torch.allclose(draw[0], crop[0], atol=1e-5) for draw in draws)
