"""The benchmark for GPUs runs, with tiny shapes, where there is none."""

from __future__ import annotations

import pytest
import torch

from benchmarks import gpu

pytestmark = pytest.mark.slow


def test_every_part_runs_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        gpu.main(["--device", "cpu", "--tiny"])
    text = capsys.readouterr().out
    assert end.value.code == 0, text
    assert "| equality with the CPU | largest deviation" in text
    assert text.count("| tiny |") == 2


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for argv, told in (([], "found no GPU"), (["--device", "cpu"], "add --tiny")):
        with pytest.raises(SystemExit, match=told):
            gpu.main(argv)


def test_a_test_set_of_the_right_size() -> None:
    lengths = gpu.clip_seconds(1321, 3000)
    assert len(lengths) == 1321
    assert sum(lengths) == pytest.approx(3000, rel=0.03)
