"""The demo of translation: its report."""

from __future__ import annotations

import json
from pathlib import Path

from llama_avsr.demo.translation import read_row, table


def test_the_table_says_what_the_evaluations_found(tmp_path: Path) -> None:
    for voices, wer in (("seen", 12.5), ("unseen", 20.25)):
        folder = tmp_path / "stack2" / "results" / "average" / f"demo_test_{voices}_vsp"
        folder.mkdir(parents=True)
        found = {
            "tokens_per_frame": 0.4951,
            "decode_seconds": 7.4,
            "wer": wer,
            "wer_interval_95": [10, 30.04],
        }
        found |= {"bleu": 55.55, "bleu_interval_95": [50.0, 60.0]}
        (folder / "summary.json").write_text(json.dumps(found))
    (tmp_path / "stack2" / "train_seconds.json").write_text("101.6")
    lines = table([read_row(tmp_path, "stack2", voices) for voices in ("seen", "unseen")]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["tokens", "voices", "tokens a frame", "WER en", "BLEU en-es", "training", "decoding"]
    scores = ["55.5 [50.0, 60.0]", "102 s", "7 s"]
    assert cells[2] == ["stack 2", "seen", "0.495", "12.5 [10.0, 30.0]", *scores]
    assert cells[3] == ["stack 2", "unseen", "0.495", "20.2 [10.0, 30.0]", *scores]
    assert len({len(line) for line in lines}) == 1
    (tmp_path / "stack2" / "train_seconds.json").unlink()
    assert read_row(tmp_path, "stack2", "seen").train_seconds is None
