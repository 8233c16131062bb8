"""Dependencies point one way: scripts -> llama_avsr -> preparation -> datamodules; av_hubert stands alone.

Inside `llama_avsr` each package imports only those that stand before it in FLOORS.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("llama_avsr", "av_hubert", "datamodules", "preparation", "benchmarks")
FLOORS = (
    *("_moved", "stopping", "faults", "boundary", "provenance", "options", "cli", "tasks", "encoders"),
    *("compressors", "model", "checkpoints", "words", "lightning", "evaluation", "training", "pretraining"),
    *("transcription", "live", "page", "server", "demo", "commands", "__main__"),
)
USES_AV_HUBERT = (
    "encoders/avhubert.py",
    "compressors/units.py",
    "compressors/_speech_rate.py",
    "pretraining/",
    "checkpoints/released",
    "demo/",
    "commands/",
)
PREPARES_VIDEOS = ("options/faces.py", "transcription/", "live/", "page/", "demo/", "commands/")
LIGHT = (
    "__main__.py",
    "cli.py",
    "boundary.py",
    "faults.py",
    "stopping.py",
    "options/",
    "commands/__init__.py",
)
HEAVY = ("torch", "transformers", "pytorch_lightning", "numpy", "peft", "av")
CORE = ("model/", "compressors/", "encoders/")


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Modules that a file imports, as dotted names."""
    tree = ast.parse(path.read_text())
    # What only a type checker reads is no dependency.
    tree.body = [node for node in tree.body if not _is_for_type_checkers(node)]
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
    return found


def _is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


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


def test_preparation_knows_no_model_and_no_flags() -> None:
    assert offences("preparation", ("llama_avsr", "transformers", "peft", "pytorch_lightning")) == []


def test_every_package_imports_only_those_below_it() -> None:
    upward = []
    for path in files("llama_avsr"):
        inside = path.relative_to(ROOT / "llama_avsr")
        package = inside.parts[0].removesuffix(".py")
        if package == "__init__":
            continue
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "llama_avsr" or len(parts) == 1 or parts[1] not in FLOORS:
                continue
            if FLOORS.index(parts[1]) > FLOORS.index(package):
                upward.append(f"{inside} imports {name}")
    assert upward == []


def test_no_circle_between_files() -> None:
    """Inside one package either: imports at the top of files form no circle."""
    paths = {_module(path): path for package in OURS for path in files(package)}
    graph = {module: imports(path, top_level_only=True) & paths.keys() for module, path in paths.items()}
    # `from package import module` asks the package for nothing of its own.
    graph = {
        module: {name for name in names if not any(n.startswith(f"{name}.") for n in names)} - {module}
        for module, names in graph.items()
    }
    while leaves := [module for module, names in graph.items() if not names & graph.keys()]:
        for module in leaves:
            del graph[module]
    assert graph == {}


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_few_files_know_av_hubert() -> None:
    found = offences("llama_avsr", ("av_hubert",))
    assert found
    allowed = tuple(f"llama_avsr/{name}" for name in USES_AV_HUBERT)
    assert [line for line in found if not line.startswith(allowed)] == []


def test_few_packages_prepare_videos() -> None:
    found = offences("llama_avsr", ("preparation",))
    assert found
    allowed = tuple(f"llama_avsr/{name}" for name in PREPARES_VIDEOS)
    assert [line for line in found if not line.startswith(allowed)] == []


def test_the_model_knows_neither_lightning_nor_data_files() -> None:
    assert offences("llama_avsr", ("pytorch_lightning", "datamodules.datamodule"), CORE) == []


@pytest.mark.parametrize(
    "start",
    ["transcription.loading", "checkpoints.export", "checkpoints.publishing", "live.program", "page.server"],
)
def test_who_trains_nothing_does_not_wait_for_lightning(start: str) -> None:
    """It takes half the time that these programs need to start."""
    paths = {_module(path): path for package in OURS for path in files(package)}
    seen, left = set(), {f"llama_avsr.{start}"}
    while left:
        module = left.pop()
        seen.add(module)
        if module in paths:
            left |= imports(paths[module], top_level_only=True) - seen
    assert any(name.split(".")[0] == "torch" for name in seen)
    assert {name for name in seen if name.split(".")[0] in ("pytorch_lightning", "lightning_fabric")} == set()


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
