"""The wheel, installed into an environment of its own, and its main job from another folder.

The dependencies are those that run this test: only the project is installed anew.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.e2e.programs import ROOT

pytestmark = pytest.mark.slow
pytest.importorskip("hatchling", reason="hatchling, which builds the package, is not installed")

PACKAGES = {"llama_avsr", "av_hubert", "datamodules", "preparation"}
DATA = {
    "llama_avsr/py.typed",
    "llama_avsr/page/page.css",
    "llama_avsr/demo/weights/llama/model.safetensors",
    "preparation/faces/detectors/blazeface_full_range.npz",
    *(f"llama_avsr/{path.relative_to(ROOT)}" for path in (ROOT / "recipes").rglob("*.yaml")),
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", out], ROOT)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment with the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", paths))
    # A plain entry: the .pth files in there, such as that of an editable install, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    programs = Path(sysconfig.get_path("scripts", "venv", paths))
    target = ["--python", programs / "python", "install", "--no-deps", "--no-index", "--quiet"]
    _run([sys.executable, "-m", "pip", *target, "--ignore-installed", wheel], folder)
    return programs


def test_what_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = next(archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES
    assert DATA - names == set()
    sources = {str(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert sources - names == set()
    for extra in (
        "video",
        "page",
        "demo",
        "quantization",
        "wandb",
        "tensorboard",
        "mlflow",
        "mediapipe",
        "all",
        "dev",
    ):
        assert f"Provides-Extra: {extra}\n" in metadata
    core = [
        line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line
    ]
    assert core
    for package in (
        "mediapipe",
        "gradio",
        "opencv",
        "bitsandbytes",
        "espeakng",
        "wandb",
        "tensorboard",
        "mlflow",
    ):
        assert not any(f": {package}" in line for line in core)


def test_the_main_job_from_another_folder(environment: Path, tmp_path: Path) -> None:
    """Makes a corpus, trains with a recipe of the package, evaluates; nothing of the checkout is used."""
    console = environment / "llama-avsr"
    place = "import llama_avsr, preparation; print(llama_avsr.__file__, preparation.__file__)"
    found = _run([environment / "python", "-c", place], tmp_path).stdout.split()
    assert all(Path(path).is_relative_to(environment.parent) for path in found)
    few = ["--num-train", "16", "--num-val", "2", "--num-test", "4"]
    _run([console, "prepare", "demo", "--root-dir", "data", *few], tmp_path)
    data = ["--root-dir", "data", "--num-workers", "0", "--accelerator", "cpu"]
    short = [
        "--max-epochs",
        "1",
        "--num-beams",
        "1",
        "--no-auto-test",
        "--exp-dir",
        "runs",
        "--exp-name",
        "asr",
    ]
    noise = ["--noise-file", "data/babble.wav"]
    _run([console, "train", "--config", "recipes/demo/asr.yaml", *data, *short, *noise], tmp_path)
    test_file = "demo_test_seen_transcript_lengths_seg16s_LLM_lowercase.csv"
    flags = ["--pretrained-model-path", "runs/asr", "--test-file", test_file]
    _run([environment / "python", "-m", "llama_avsr", "eval", *data, *flags], tmp_path)
    (hypotheses,) = (tmp_path / "runs" / "asr" / "results").rglob("hypotheses.csv")
    with hypotheses.open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 4


def _run(command: list[object], folder: Path) -> subprocess.CompletedProcess[str]:
    names = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    words = list(map(str, command))
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=environment, timeout=900)
    assert done.returncode == 0, f"{words}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done
