"""What becomes of decoded clips: the metric follows their languages, whatever the task is called."""

from pathlib import Path

import pytest

from datamodules.batch import Utterance
from llama_avsr.evaluation import report
from llama_avsr.evaluation.run import _evaluation
from llama_avsr.lightning import loggers
from llama_avsr.lightning.module import Decoded
from llama_avsr.options import Options
from llama_avsr.training.samples import SampleTable

OPTIONS = Options().updated({"modality": "video", "test_file": ("test.csv",), "decode_snr_target": "clean"})


def decoded(languages, text, hypothesis, line=1):
    utterance = Utterance(
        id=f"lrs3/test/{line}",
        video_path=Path("a.mp4"),
        audio_path=Path("a.wav"),
        num_frames=50,
        text=text,
        source=f"test.csv:{line}",
        languages=languages,
    )
    return Decoded(utterance, [(hypothesis, -1.0), ("second best", -2.0)], num_speech_tokens=10)


@pytest.mark.parametrize(
    ("languages", "metric"),
    [((("en", "en"),), "wer"), ((("en", "es"),), "bleu"), ((("en", "en"), ("en", "es")), "wer+bleu")],
)
def test_the_metric_follows_the_clips(languages, metric):
    clips = [decoded(one, "uno dos", "uno tres", line) for line, one in enumerate(languages, 1)]
    found = _evaluation(clips, OPTIONS, Path("runs/a"), seconds=1.0)
    assert report.summary(found)["metric"] == metric
    assert list(found.directions) == list(languages)
    assert found.speech_seconds == 2 * len(clips)
    assert set(metric.split("+")) <= report.summary(found).keys()


def test_sample_tables_follow_the_clips(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "llama_avsr.training.samples.log_samples", lambda _, samples, step: shown.extend(samples)
    )

    class Module:
        samples = (decoded(("en", "en"), "a b", "a c"), decoded(("en", "es"), "a b", "a b"))

    class Trainer:
        is_global_zero, loggers, global_step = True, (), 3

    SampleTable(media=()).on_validation_end(Trainer(), Module())
    assert [type(sample) for sample in shown] == [loggers.Sample] * 2
    assert [sample.scores for sample in shown] == [
        {"WER (%)": 50},
        {"sentence BLEU": pytest.approx(100)},
    ]
