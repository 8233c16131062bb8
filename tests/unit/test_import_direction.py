"""Dependencies point one way: scripts -> llama_avsr -> datamodules; av_hubert stands alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("llama_avsr", "av_hubert", "datamodules", "preparation", "benchmarks")
USES_AV_HUBERT = ("encoders/avhubert.py", "compressors/units.py", "released", "demo_pretrain/")
LIGHT = ("cli.py", "registry.py", "options/")
HEAVY = ("torch", "transformers", "pytorch_lightning", "numpy", "peft", "av")
CORE = (
    "model.py",
    "decoding.py",
    "prompt.py",
    "projector.py",
    "compressors/",
    "encoders/",
    "sink.py",
    "lora.py",
)


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Modules that a file imports, as dotted names."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
    return found


def offences(package: str, forbidden: tuple[str, ...], under: tuple[str, ...] = ("",)) -> list[str]:
    checked = [p for p in files(package) if str(p.relative_to(ROOT / package)).startswith(under)]
    assert checked
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in checked
        for name in imports(path)
        if name.split(".")[0] in forbidden or name in forbidden
    ]


def test_av_hubert_knows_nothing_of_the_project() -> None:
    assert offences("av_hubert", tuple(name for name in OURS if name != "av_hubert")) == []


def test_datamodules_know_no_model() -> None:
    assert offences("datamodules", ("llama_avsr", "av_hubert", "transformers", "peft", "preparation")) == []


def test_few_files_know_av_hubert() -> None:
    found = [
        line
        for line in offences("llama_avsr", ("av_hubert",))
        if not line.startswith(tuple(f"llama_avsr/{name}" for name in USES_AV_HUBERT))
    ]
    assert found == []
    assert offences("llama_avsr", ("av_hubert",))


def test_transcription_and_its_page_alone_prepare_videos() -> None:
    found = offences("llama_avsr", ("preparation",))
    assert found
    assert [
        line for line in found if not line.startswith(("llama_avsr/transcription/", "llama_avsr/page/"))
    ] == []


def test_the_model_knows_neither_lightning_nor_files_nor_options() -> None:
    forbidden = (
        "pytorch_lightning",
        "llama_avsr.options",
        "llama_avsr.lightning_module",
        "llama_avsr.checkpoint",
    )
    assert offences("llama_avsr", (*forbidden, "llama_avsr.training", "datamodules.datamodule"), CORE) == []


def test_only_builders_and_programs_see_options() -> None:
    allowed = (
        "options/",
        "cli.py",
        "build.py",
        "released/",
        "export.py",
        "data.py",
        "runtime.py",
        "training.py",
        "evaluation.py",
        "transcription/loading.py",
        "transcription/program.py",
        "demo",
    )
    seen = [
        str(path.relative_to(ROOT / "llama_avsr"))
        for path in files("llama_avsr")
        if any(name.startswith("llama_avsr.options") for name in imports(path))
    ]
    assert [name for name in seen if not name.startswith(allowed)] == []


@pytest.mark.parametrize(
    "script", ["train_LLM.py", "eval_LLM.py", "prepare_data.py", "transcribe.py", "llama_avsr/__init__.py"]
)
def test_scripts_are_light_until_the_flags_are_right(script: str) -> None:
    assert {name.split(".")[0] for name in imports(ROOT / script, top_level_only=True)} & set(HEAVY) == set()


def test_options_are_light() -> None:
    checked = [p for p in files("llama_avsr") if str(p.relative_to(ROOT / "llama_avsr")).startswith(LIGHT)]
    assert checked
    for path in checked:
        assert {name.split(".")[0] for name in imports(path)} & set(HEAVY) == set(), path
