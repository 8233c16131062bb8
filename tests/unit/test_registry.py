import sys

import pytest

from datamodules import registry


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "some_parent" / "plugins"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__init__.py").write_text("raise RuntimeError('listing must not import')")
    (folder / "mean_pooling.py").write_text("VALUE = 3")
    (folder / "stack.py").write_text("VALUE = 4")
    (folder / "_helper.py").touch()
    (folder / "README.md").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield "some_parent.plugins"
    for name in [name for name in sys.modules if name.partition(".")[0] == "some_parent"]:
        del sys.modules[name]


def test_the_folder_is_the_registry(package):
    assert registry.names(package) == ["mean-pooling", "stack"]


@pytest.mark.parametrize("name", ["mean-pooling", "mean_pooling", "Mean_Pooling"])
def test_hyphen_and_underscore_are_one(package, name):
    assert registry.resolve(package, name) == "mean-pooling"


@pytest.mark.parametrize("name", ["mean-pooling", "mean_pooling"])
def test_load(package, name, tmp_path):
    (tmp_path / "some_parent" / "plugins" / "__init__.py").write_text("")
    assert registry.load(package, name).VALUE == 3


def test_a_wrong_name_lists_the_right_ones(package):
    with pytest.raises(
        ValueError, match=r"plugins has no 'stck'; did you mean stack\? There are: mean-pooling, stack"
    ):
        registry.load(package, "stck")
    with pytest.raises(ValueError, match="There are: mean-pooling, stack"):
        registry.load(package, "_helper")


def test_no_such_package():
    with pytest.raises(ModuleNotFoundError, match=r"no package llama_avsr\.nothing"):
        registry.names("llama_avsr.nothing")


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("llama_avsr.compressors", {"stack", "avg-pooling"}),
        ("llama_avsr.encoders", {"whisper", "wavlm", "avhubert"}),
        ("llama_avsr.tasks", {"asr", "vsr", "avsr"}),
    ],
)
def test_the_plugins_there_are(package, expected):
    assert expected <= set(registry.names(package))
