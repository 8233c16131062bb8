"""What of a file a model is given."""

from __future__ import annotations

import pytest

from llama_avsr.transcription.modality import NO_PICTURE, UnusableError, choose

BOTH = ("audio", "video")
NO_FACE = {"video": "no face was found"}
NO_SOUND = {"audio": "the file has no sound track"}


@pytest.mark.parametrize(
    ("model", "may_drop", "lacking", "asked", "media", "reason"),
    [
        (BOTH, False, {}, None, BOTH, ""),
        (BOTH, True, NO_FACE, None, ("audio",), "sound alone: no face was found"),
        (BOTH, True, NO_SOUND, None, ("video",), "lips alone: the file has no sound track"),
        (BOTH, True, {}, ("audio",), ("audio",), "sound alone, as asked for"),
        (("audio",), False, NO_FACE, None, ("audio",), ""),
        (("video",), False, NO_SOUND, ("video",), ("video",), ""),
    ],
)
def test_choices(model, may_drop, lacking, asked, media, reason) -> None:
    choice = choose(model, may_drop, lacking, asked)
    assert (choice.media, choice.reason) == (media, reason)


def test_what_the_model_never_learnt_is_said() -> None:
    choice = choose(BOTH, False, NO_FACE, ("audio",))
    assert choice.media == ("audio",)
    assert "never trained with that alone" in choice.reason


@pytest.mark.parametrize(
    ("model", "may_drop", "lacking", "asked", "said"),
    [
        (
            BOTH,
            False,
            NO_FACE,
            None,
            "no face was found, and the model was trained with both",
        ),
        (BOTH, True, NO_FACE, BOTH, "no face was found, and --modality asks for both"),
        (BOTH, True, NO_FACE, ("video",), "no face was found; --modality audio uses sound"),
        (BOTH, True, NO_FACE | NO_SOUND, None, "sound track; no face was found; .*--already-cropped"),
        (("video",), False, NO_FACE, None, "reads lips only: .*--already-cropped"),
        (("video",), False, {"video": NO_PICTURE}, None, "no picture; .*give it a video"),
        (("audio",), False, NO_SOUND, None, "no sound track; this model hears only: use one that reads lips"),
        (("audio",), False, {}, ("video",), "--modality asks for lips, the model takes sound only"),
    ],
)
def test_what_cannot_be_done_names_a_remedy(model, may_drop, lacking, asked, said) -> None:
    with pytest.raises(UnusableError, match=said):
        choose(model, may_drop, lacking, asked)
