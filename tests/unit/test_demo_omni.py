"""The tables of one elastic model against three specialists, and when an earlier demo's models will do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from llama_avsr.demo import omni
from llama_avsr.demo.omni import DemoOptions

SETTINGS = {"quick": False, "seed": 42}
FILE = "demo_test_{}_transcript_lengths_seg16s_LLM_lowercase"


def summary(folder: Path, wer: float, tokens_per_frame: float) -> None:
    folder.mkdir(parents=True)
    found = {"wer": wer, "wer_interval_95": [wer - 1, wer + 1], "tokens_per_frame": tokens_per_frame}
    (folder / "summary.json").write_text(json.dumps(found))


def trained(folder: Path, epochs: int, steps: int) -> None:
    for path in (folder / "average", folder / "checkpoints" / f"epoch=04-step={steps:06d}"):
        path.mkdir(parents=True)
    state = {"a.weight": torch.zeros(3, 4), "b.bias": torch.zeros(5), "added_tokens.head": torch.zeros(9)}
    save_file(state, folder / "average" / "model.safetensors")
    config = {"options": {"training": {"max_epochs": epochs}}}
    (folder / "average" / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "train_seconds.json").write_text("60.4")


def asked(tmp_path: Path) -> DemoOptions:
    return DemoOptions(root_dir=tmp_path / "data", exp_dir=tmp_path / "omni", specialists=tmp_path / "demo")


def test_models_of_an_earlier_demo_that_will_do(tmp_path: Path) -> None:
    options = asked(tmp_path)
    trained(options.specialists / "asr", epochs=5, steps=310)
    trained(options.specialists / "avsr", epochs=7, steps=434)
    settings = options.specialists / "demo.json"
    assert omni.run_of(options, "asr") == options.exp_dir / "asr"  # of an unknown corpus
    settings.write_text(json.dumps({"corpus": str(options.root_dir.resolve()), **SETTINGS}))
    assert omni.run_of(options, "asr") == options.specialists / "asr"
    assert omni.run_of(options, "avsr") == options.exp_dir / "avsr"  # of more updates
    assert omni.run_of(options, "vsr") == options.exp_dir / "vsr"  # not there
    assert omni.run_of(replace(options, seed=7), "asr") == options.exp_dir / "asr"
    assert omni.run_of(replace(options, quick=True), "asr") == options.exp_dir / "asr"


def test_error_rates_by_task_and_rate(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for voices, more in (("seen", 0), ("unseen", 2)):
        file = FILE.format(voices)
        summary(results / "asr" / file, 2 + more, 0.5)
        summary(results / "asr" / f"{file}_0dB", 20 + more, 0.5)
        summary(results / "omni" / f"{file}_asr_4", 3 + more, 0.5)
        summary(results / "omni" / f"{file}_asr_4_0dB", 22 + more, 0.5)
        summary(results / "omni" / f"{file}_vsr_2", 16 + more, 0.48)
        summary(results / "omni" / f"{file}_avsr_8_4", 4 + more, 0.48)
        summary(results / "omni" / f"{file}_avsr_8_4_0dB", 9 + more, 0.48)
    rows = [*omni.read_rows(tmp_path, "asr"), *omni.read_rows(tmp_path, "omni")]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in omni.rate_table(rows).splitlines()]
    assert lines[0][:5] == ["task", "rates", "model", "tokens/s", "clean, seen"]
    assert [line[:4] for line in lines[2:]] == [
        ["asr", "finest", "specialist", "12.5"],
        ["asr", "4", "omni", "12.5"],
        ["vsr", "2", "omni", "12.0"],
        ["avsr", "8 4", "omni", "12.0"],
    ]
    assert lines[2][4:] == ["2.0 [1.0, 3.0]", "4.0 [3.0, 5.0]", "20.0 [19.0, 21.0]", "22.0 [21.0, 23.0]"]
    assert lines[4][6:] == ["-", "-"]  # no noise for lips
    panels = omni._panels(rows)
    assert panels["clean"]["asr, omni"] == [(12.5, (5, 4, 6))]
    assert panels["0 dB"]["vsr, omni"] == [(12.0, (18, 17, 19))]
    omni.wer_vs_tokens(panels, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_what_each_model_took(tmp_path: Path) -> None:
    names = (omni.ELASTIC, *omni.SPECIALISTS)
    for name in names:
        trained(tmp_path / name, epochs=5, steps=310)
    (tmp_path / "vsr" / "train_seconds.json").unlink()
    lines = omni.cost_table({name: tmp_path / name for name in names}).splitlines()
    cells = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]] for line in lines[2:]}
    assert cells["omni"] == ["17", "310", "60 s"]
    assert cells["vsr"] == ["17", "310", "-"]
    assert cells["three specialists"] == ["51", "930", "-"]
