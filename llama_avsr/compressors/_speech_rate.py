"""How fast somebody speaks, found in the frames of an encoder of sound (MMS-LLaMA's speech-rate predictor).

Letters: B clips, T frames at 12.5 Hz, C width of the encoder.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from av_hubert import AVHubertConfig, fairseq_file
from av_hubert.transformer import Transformer
from datamodules.batch import Padded
from datamodules.files import whole_or_nothing

RATE_HZ = 12.5
PREFIX = "sr_predictor."
NUM_HEADS = 4
"""No tensor's shape tells."""
LAYER = re.compile(r"encoder\.layers\.(\d+)\.")
SHAPED = ("linear.weight", "encoder.pos_conv.0.weight_v", "encoder.layers.0.fc1.weight")


class SpeechRatePredictor(nn.Module):
    """Words a second, in units of the average speaker's: 1 is average.

    A learned token stands before the frames, and what a small transformer makes of it tells the rate. Padding
    is masked, so that a clip's rate does not depend on its batch; the original looks at it.
    """

    def __init__(self, in_dim: int, config: AVHubertConfig) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.sr_token = nn.Parameter(torch.randn(1, 1, config.dim) * 0.02)
        self.linear = nn.Linear(in_dim, config.dim)
        self.encoder = Transformer(config)
        self.sr_predictor = nn.Linear(config.dim, 1)

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def forward(self, sound: Padded) -> Tensor:
        """sound: [B, T, C]. Returns [B], 0 or more. Raises ValueError for frames of another width."""
        if sound.values.shape[2] != self.in_dim:
            raise ValueError(
                f"--speech-rate-predictor: it takes frames of width {self.in_dim}, the encoder of the sound "
                f"makes {sound.values.shape[2]}; give the one that was trained with this encoder"
            )
        frames = sound.zeroed().values.to(self.linear.weight.dtype)
        token = self.sr_token.expand(len(frames), -1, -1)
        states = Padded(torch.cat([token, self.linear(frames)], dim=1), sound.lengths + 1)
        return self.sr_predictor(self.encoder(states.zeroed().values, ~states.mask)[:, 0]).relu()[:, 0]


def load(path: Path) -> SpeechRatePredictor:
    """Read a predictor: the published `.pt`, or a `.safetensors` of the same names. Raises ValueError for
    any other file."""
    state = _read(path)
    if missing := [name for name in SHAPED if name not in state]:
        raise ValueError(
            f"--speech-rate-predictor {path}: no {missing[0]} among its {len(state)} tensors; expected those "
            f"of a speech-rate predictor ({PREFIX}*)"
        )
    linear, position, fc1 = (state[name].shape for name in SHAPED)
    config = AVHubertConfig(
        num_layers=1 + max(int(match[1]) for name in state if (match := LAYER.match(name))),
        dim=linear[0],
        ffn_dim=fc1[0],
        num_heads=NUM_HEADS,
        conv_pos=position[2],
        conv_pos_groups=position[0] // position[1],
        layer_norm_first=True,
    )
    predictor = SpeechRatePredictor(linear[1], config)
    try:
        predictor.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"--speech-rate-predictor {path}: {str(error).splitlines()[1].strip()}") from error
    return predictor.eval()


def save(predictor: SpeechRatePredictor, path: Path) -> None:
    """Write what `load` reads, a `.safetensors`."""
    state = {f"{PREFIX}{name}": tensor.contiguous().cpu() for name, tensor in predictor.state_dict().items()}
    with whole_or_nothing(path) as temporary:
        save_file(state, temporary)


def _read(path: Path) -> dict[str, Tensor]:
    """In float32, by the predictor's own names."""
    if not path.is_file():
        raise ValueError(f"--speech-rate-predictor {path}: no such file")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else fairseq_file.read_tensors(path)
    except SafetensorError as error:
        raise ValueError(f"--speech-rate-predictor {path}: not readable ({error})") from error
    return {
        name.removeprefix(PREFIX): tensor.float() for name, tensor in state.items() if name.startswith(PREFIX)
    }
