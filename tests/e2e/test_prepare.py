"""Data sets of a real face, as a user would make them."""

from __future__ import annotations

import numpy as np
import pytest

import prepare_data
from datamodules import formats
from datamodules.media import load_video
from tests.faces import textured
from tests.unit.media_files import tone, write_video


@pytest.mark.slow
def test_a_folder_of_a_real_face(real_video, tmp_path, capsys):
    source, root = tmp_path / "talks", tmp_path / "data"
    source.mkdir()
    (source / "man.mp4").write_bytes(real_video.read_bytes())
    (source / "man.srt").write_text(
        "1\n00:00:00,500 --> 00:00:02,000\nFirst this.\n\n2\n00:00:02,000 --> 00:00:03,600\nThen that!\n"
    )
    write_video(source / "nobody.mp4", textured(30), waveform=tone(30 * 640))
    (source / "nobody.txt").write_text("nobody")
    arguments = ["folder", "--source-dir", source, "--root-dir", root, "--no-sound", "--num-workers", "2"]
    assert prepare_data.main([str(argument) for argument in arguments]) == 0
    assert "1 no mouth found; train/nobody" in capsys.readouterr().out
    [path] = (root / "labels").glob("*.csv")
    utterances = formats.read(path, root, ("video",))
    assert [(u.text, u.num_frames) for u in utterances] == [("first this", 37), ("then that", 40)]
    for utterance in utterances:
        clip = load_video(utterance.video_path, utterance.num_frames).numpy()
        assert clip.shape == (utterance.num_frames, 96, 96)
        assert np.abs(np.diff(clip.astype(int), axis=0)).mean() < 10, "a mouth that holds still, not noise"
