"""Small models on a GPU: precisions, kernels, compilation, and the CPU's own results."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gpu_checks import CHECKS, NotHere

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="found no GPU that PyTorch can use"),
]


@pytest.mark.parametrize("name", CHECKS)
def test_holds_on_a_gpu(name: str) -> None:
    try:
        assert CHECKS[name](torch.device("cuda"))
    except NotHere as reason:
        pytest.skip(str(reason))
