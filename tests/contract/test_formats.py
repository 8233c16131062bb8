"""What every label format promises, shown on its own tiny file."""

from pathlib import Path

import pytest

from datamodules import formats, registry
from datamodules.languages import LANGUAGES

NAMES = registry.names("datamodules.formats")


def test_some_are_found() -> None:
    assert {"auto-avsr-csv", "avhubert-tsv"} <= set(NAMES)


def test_no_two_read_one_suffix() -> None:
    suffixes = [suffix for name in NAMES for suffix in registry.load("datamodules.formats", name).SUFFIXES]
    assert len(suffixes) == len(set(suffixes))


@pytest.mark.parametrize("name", NAMES)
def test_utterances(name: str, tmp_path: Path) -> None:
    path = registry.load("datamodules.formats", name).tiny(tmp_path)
    assert path.suffix in registry.load("datamodules.formats", name).SUFFIXES
    utterances = formats.read(path, tmp_path, media=())
    assert len(utterances) == 2
    assert len({utterance.id for utterance in utterances}) == 2
    for utterance in utterances:
        assert utterance.num_frames > 0
        assert utterance.has_text
        assert utterance.position[0] == str(path)
        assert set(utterance.languages) <= LANGUAGES.keys()
        assert formats.names_languages(path) or utterance.languages == ("en", "en")


@pytest.mark.parametrize("name", NAMES)
def test_missing_media_are_refused(name: str, tmp_path: Path) -> None:
    path = registry.load("datamodules.formats", name).tiny(tmp_path)
    with pytest.raises(ValueError, match=path.name):
        formats.read(path, tmp_path, media=("video",))
