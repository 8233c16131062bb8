import pytest
import torch

from llama_avsr.model.prompt import splice


def rows(*values: float) -> torch.Tensor:
    """[n, 1] "embeddings" that can be read."""
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 1)


PARTS = [
    # BOS, two speech tokens, prompt, target
    [rows(1), rows(10, 11), rows(2), rows(5, 6)],
    # BOS, no speech at all, prompt, target
    [rows(1), rows(), rows(2), rows(7)],
]


def test_training_pads_to_the_right() -> None:
    made = splice(PARTS, "right")
    assert made.embeddings[..., 0].tolist() == [[1, 10, 11, 2, 5, 6], [1, 2, 7, 0, 0, 0]]
    assert made.attention_mask.tolist() == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]
    assert made.position_ids.tolist() == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 0, 0]]
    assert made.lengths.tolist() == [6, 3]


def test_generation_pads_to_the_left() -> None:
    made = splice(PARTS, "left")
    assert made.embeddings[..., 0].tolist() == [[1, 10, 11, 2, 5, 6], [0, 0, 0, 1, 2, 7]]
    assert made.attention_mask.tolist() == [[1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]]
    assert made.position_ids.tolist() == [[0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 1, 2]]


@pytest.mark.parametrize("side", ["left", "right"])
def test_gradients_reach_every_piece(side: str) -> None:
    parts = [[piece.clone().requires_grad_() for piece in clip] for clip in PARTS]
    splice(parts, side).embeddings.sum().backward()
    assert all(torch.equal(piece.grad, torch.ones_like(piece)) for clip in parts for piece in clip)
