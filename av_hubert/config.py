"""What an AV-HuBERT is made of. No torch import."""

from __future__ import annotations

from dataclasses import dataclass

FUSIONS = ("concat", "add")
ACTIVATIONS = ("prelu", "relu")


@dataclass(frozen=True, kw_only=True)
class AVHubertConfig:
    """Sizes and switches of one network. The defaults are the published base model's."""

    num_layers: int = 12
    """Transformer layers (L)."""
    dim: int = 768
    """Width of the transformer (D)."""
    ffn_dim: int = 3072
    """Width of the feed-forward blocks (F)."""
    num_heads: int = 12
    """Attention heads (H)."""
    conv_pos: int = 128
    """Kernel of the positional convolution, in frames."""
    conv_pos_groups: int = 16
    """Groups of the positional convolution."""
    audio_dim: int = 104
    """Width of an audio frame: 4 stacked filterbank frames of 26."""
    resnet_planes: tuple[int, int, int, int] = (64, 128, 256, 512)
    """Channels of the four ResNet stages; the first is the stem's width, the last the trunk's output."""
    video_side: int | None = None
    """Side of the centre of a picture, in pixels, that the ResNet looks at; None for the whole picture."""
    resnet_activation: str = "prelu"
    """"prelu" (one slope per channel) or "relu"."""
    fusion: str = "concat"
    """"concat" (audio beside video, then a projection to D) or "add"."""
    layer_norm_first: bool = True
    """Pre-norm transformer; every published model is."""
    lora_rank: int = 0
    """Bottleneck of the LoRA on q and v; 0 for none."""
    input_dropout: float = 0.0
    """Dropout after fusion. This and the following act in training mode only."""
    dropout: float = 0.1
    """Dropout after the positional convolution, attention and the feed-forward block."""
    attention_dropout: float = 0.1
    """Dropout of attention weights."""
    activation_dropout: float = 0.0
    """Dropout inside the feed-forward block."""
    layer_drop: float = 0.0
    """Probability of skipping a layer."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "resnet_planes", tuple(self.resnet_planes))
        _check(len(self.resnet_planes) == 4, "resnet_planes", self.resnet_planes, "four widths")
        _check(
            self.resnet_activation in ACTIVATIONS, "resnet_activation", self.resnet_activation, ACTIVATIONS
        )
        _check(self.fusion in FUSIONS, "fusion", self.fusion, FUSIONS)
        _check(self.dim % self.num_heads == 0, "num_heads", self.num_heads, f"a divisor of dim {self.dim}")
        _check(
            self.dim % self.conv_pos_groups == 0,
            "conv_pos_groups",
            self.conv_pos_groups,
            f"a divisor of dim {self.dim}",
        )
        _check(self.lora_rank >= 0, "lora_rank", self.lora_rank, "0 or more")


def _check(is_fine: bool, field: str, found: object, expected: object) -> None:
    if not is_fine:
        raise ValueError(f"AVHubertConfig.{field}: found {found!r}, expected {expected}")
