"""Which flags each --modality uses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Modality:
    """What a modality reads of the options."""

    media: tuple[str, ...]
    """Media its clips need: "audio", "video"."""
    prompt: str
    """Field with its prompt."""
    max_frames: str
    """Field with its batch size."""
    avhubert: str | None
    """Field with the AV-HuBERT checkpoint it cannot do without."""
    uses: frozenset[str]
    """The fields below that matter to it; those of no modality's `uses` matter to all."""


AUDIO_ENCODER = ("audio_encoder_name", "pretrain_avhubert_enc_audio_path", "downsample_ratio_audio")
WHISPER = ("whisper_padding", "whisper_length_rounding")
NOISE = ("noise_file", "train_snr_levels", "decode_snr_target")
VIDEO_ENCODER = ("pretrain_avhubert_enc_video_path", "downsample_ratio_video")

MODALITIES = {
    "audio": Modality(
        media=("audio",),
        prompt="prompt_audio",
        max_frames="max_frames_audio",
        avhubert=None,
        uses=frozenset({"prompt_audio", "max_frames_audio", *AUDIO_ENCODER, *WHISPER, *NOISE}),
    ),
    "video": Modality(
        media=("video",),
        prompt="prompt_video",
        max_frames="max_frames_video",
        avhubert="pretrain_avhubert_enc_video_path",
        uses=frozenset({"prompt_video", "max_frames_video", "video_augmentation", *VIDEO_ENCODER}),
    ),
    "audiovisual": Modality(
        media=("audio", "video"),
        prompt="prompt_audiovisual",
        max_frames="max_frames_audiovisual",
        avhubert="pretrain_avhubert_enc_video_path",
        uses=frozenset(
            {"prompt_audiovisual", "max_frames_audiovisual", "video_augmentation", "modality_dropout"}
            | {*AUDIO_ENCODER, *WHISPER, *NOISE, *VIDEO_ENCODER}
        ),
    ),
    "audiovisual_avhubert": Modality(
        media=("audio", "video"),
        prompt="prompt_audiovisual",
        max_frames="max_frames_audiovisual",
        avhubert="pretrain_avhubert_enc_audiovisual_path",
        uses=frozenset(
            {"prompt_audiovisual", "max_frames_audiovisual", "video_augmentation", "modality_dropout"}
            | {"pretrain_avhubert_enc_audiovisual_path", "single_projector_avhubert"}
            | {"downsample_ratio_audio", "downsample_ratio_video", "downsample_ratio_audiovisual", *NOISE}
        ),
    ),
}

CHOSEN = frozenset().union(*(modality.uses for modality in MODALITIES.values()))
"""Fields that some modality does not use."""
