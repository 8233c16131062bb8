"""Wrote these checkpoints, at commit 82d2a62 with its tests: `python -m tests.golden.checkpoints_0_1.make`.

Each is one epoch's training on `tests.e2e.data_set`, of the models of `tests.tiny` or the demo's weights,
through the programs as a user calls them; nbest.jsonl is what `eval_LLM.py` then wrote with 3 beams. Later
versions must load the folders and write the same.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests import models
from tests.e2e import data_set
from tests.e2e.programs import run, train_flags

HERE = Path(__file__).parent
DEMO = Path("datamodules") / "demo" / "weights"
CASES: dict[str, tuple[str, dict[str, object]]] = {
    "audio": ("audio", {"audio_encoder_name": "wavlm", "compression_mode": "avg-pooling"}),
    "audiovisual": (
        "audiovisual",
        {"downsample_ratio_audio": 4, "downsample_ratio_video": 2, "lora_dropout": 0.1},
    ),
    "single_projector": (
        "audiovisual_avhubert",
        {"single_projector_avhubert": True, "use_lora_avhubert": True, "layernorm_projector": True},
    ),
    "translation": (
        "video",
        {"task": "translation", "compression_mode": "units", "projector_type": "linear"}
        | {f"{split}_file": f"{split}.tsv" for split in ("train", "val", "test")},
    ),
    "demo": (
        "audio",
        {"audio_encoder_name": DEMO / "whisper", "llm_model": DEMO / "llama", "intermediate_size": 8}
        | {"lora_rank": 2, "max_dec_tokens": 12},
    ),
}
SAME = {"max_epochs": 1, "num_average_epochs": 1, "num_check_save": 1, "lr": 0.01}


def main() -> None:
    root = Path(tempfile.mkdtemp())
    made = models.folders(root / "models")
    data = data_set.make(root / "data")
    data_set.make_manifests(data)
    for name, (modality, options) in CASES.items():
        options = {key: made.get(str(value), value) for key, value in options.items()}
        flags = train_flags(data, root / "runs", made, modality, **{**SAME, **options})
        run("train_LLM.py", *flags, "--exp-name", name, "--no-auto-test")
        model = ["--pretrained-model-path", root / "runs" / name]
        test = ["--root-dir", data, "--test-file", options.get("test_file", "test.csv")]
        search = ["--num-beams", 3, "--nbest", 3, "--max-dec-tokens", 6]
        run("eval_LLM.py", *model, *test, *search, "--output-dir", root / "results" / name)
        shutil.rmtree(HERE / name, ignore_errors=True)
        shutil.copytree(root / "runs" / name / "average", HERE / name)
        (found,) = (root / "results" / name).rglob("nbest.jsonl")
        shutil.copy(found, HERE / name)
        config = HERE / name / "config.yaml"
        config.write_text(config.read_text().replace(str(root), "/gone"))
        if name == "audiovisual":  # one to resume from
            (last,) = (root / "runs" / name / "checkpoints").glob("epoch=*")
            shutil.copytree(last, HERE / "resume" / last.name, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
