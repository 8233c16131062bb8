"""Decode a test set with a trained model and report how good it is."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from datamodules.batch import VIDEO_FPS
from datamodules.datamodule import DataModule
from datamodules.files import write_whole
from datamodules.noise_sources import show_noise
from llama_avsr import stopping
from llama_avsr.checkpoints.source import Source, find_source
from llama_avsr.evaluation import grid, metrics, origin, report
from llama_avsr.evaluation.control import with_others_speech
from llama_avsr.evaluation.loading import evaluation_options, load_model, search_of
from llama_avsr.evaluation.normalisation import normalisation
from llama_avsr.evaluation.speakers import speakers_of
from llama_avsr.lightning.data import build_datamodule, connect
from llama_avsr.lightning.hardware import Devices
from llama_avsr.lightning.limits import check_tests
from llama_avsr.lightning.loggers import check_installed, finish, log_panel, make_loggers
from llama_avsr.lightning.module import Decoded, SpeechLLMModule
from llama_avsr.lightning.progress import progress_bar
from llama_avsr.lightning.trainer import make_trainer
from llama_avsr.model.devices import check_hardware
from llama_avsr.options import Options, to_dict
from llama_avsr.options.views import chosen_views

LOGGER = logging.getLogger(__name__)
VIEWS_FILE = "views.md"


class Test(NamedTuple):
    """One label file at one SNR, for one task at one rate."""

    options: Options
    datamodule: DataModule
    view: str | None
    """Name of task and rates, where the model has several of them."""


@dataclass(frozen=True)
class Tested:
    """What came of tests; on the first rank."""

    evaluations: Sequence[tuple[str | None, report.Evaluation]]
    """With the name of task and rates, where the model has several of them."""
    several_sets: bool
    """Whether label file or condition differs between them."""
    grid_folder: Path | None = None
    """Of their table, where they are a grid."""

    @property
    def has_views(self) -> bool:
        return any(view for view, _ in self.evaluations)

    def metrics(self) -> dict[str, object]:
        """`test/wer`, ..., with view and condition in the name where there are several."""
        final: dict[str, object] = {}
        for view, one in self.evaluations:
            parts = [view] if view else []
            parts += [one.label_file, one.condition] if self.several_sets else []
            name = "/".join(["test", *parts])
            final |= {f"{name}/{key}": value for key, value in report.summary(one).items()}
        return final


def evaluate(options: Options, explicit: Collection[str]) -> list[Path]:
    """The work of `eval_LLM.py`. explicit: the options that the user set. Returns the results folders."""
    source = find_source(options.checkpoints.pretrained_model_path)
    asked, options = options, evaluation_options(options, explicit, source=source)
    views = chosen_views(options, asked, explicit)
    # First what the user may have got wrong: a large model takes minutes to load.
    check_hardware(options)
    check_installed(options.run.wandb_project, options.run.loggers)
    tests = read_test_files(views, explicit, several=len(options.views) > 1)
    results = [_results_folder(source, test) for test in tests]
    if len(set(results)) < len(results):
        names = ", ".join(sorted({str(result) for result in results if results.count(result) > 1}))
        raise ValueError(
            f"two tests would be written to one folder ({names}): label files and noises need other names"
        )
    for result in results:
        result.mkdir(parents=True, exist_ok=True)
    model = load_model(options, source)
    check_tests(model, [(test.options, test.datamodule) for test in tests])
    module = SpeechLLMModule(model, search=search_of(options))
    folder, run = Path(source.name), options.run
    beside = run.output_dir or source.results
    loggers = make_loggers(beside, run.wandb_project, folder.name, to_dict(options), kinds=run.loggers)
    loggers = loggers[1:]  # a test has no curve
    trainer = make_trainer(options, [progress_bar()], loggers or False, folder)
    record(loggers, run_tests(trainer, module, tests, source))
    return results


def read_test_files(
    views: Sequence[Options], explicit: Collection[str] = (), several: bool | None = None
) -> list[Test]:
    """Every test file under every condition, read and checked. Raises ValueError for one that cannot be used.

    views: the options for each task and rate that is tested. several: whether the model has more of them.
    """
    several = len(views) > 1 if several is None else several
    tests = []
    for options in views:
        for condition in grid.conditions(options, explicit):
            test = options.updated(condition)
            datamodule = build_datamodule(test)
            datamodule.setup("test")
            directions = {utterance.languages for utterance in datamodule.utterances["test"]}
            normalisation(options.scoring.normalise, directions)
            if options.decoding.shuffle_speech:
                datamodule.utterances["test"] = with_others_speech(datamodule.utterances["test"])
            tests.append(Test(test, datamodule, options.view_name if several else None))
    return tests


def run_tests(trainer: pl.Trainer, module: SpeechLLMModule, tests: Sequence[Test], source: Source) -> Tested:
    """Decode every test; write a results folder and print a report for each.

    What came of them is known to the first rank alone.
    """
    found: list[tuple[Test, report.Evaluation]] = []
    for test in tests:
        module.model.view = module.model.views[test.options.view_name]
        connect(test.datamodule, test.options, module.model)
        evaluation = _run_test(trainer, module, test, source)
        if evaluation is not None:
            found.append((test, evaluation))
    several_sets = len({_results_folder(source, test._replace(view=None)) for test in tests}) > 1
    tested = Tested([(test.view, one) for test, one in found], several_sets)
    if tested.has_views:
        table = report.score_table(tested.evaluations)
        path = (tests[0].options.run.output_dir or source.results) / VIEWS_FILE
        write_whole(path, f"{table}\n")
        print(f"{table}\n\nin {path}\n")
    elif len(found) > 1:
        evaluations = [one for _, one in found]
        folder = grid.write(_results_folder(source, tests[0]).parent, evaluations)
        tested = replace(tested, grid_folder=folder)
        print(f"{grid.markdown(evaluations)}\n\ntable in {folder / grid.FILE}.{{csv,json,md,tex}}\n")
    return tested


def record(loggers: Sequence[Logger], tested: Tested | None) -> None:
    """Log what came of tests, and end the recording. None: there were none."""
    if tested is not None and tested.grid_folder is not None:
        log_panel(loggers, grid.panel([one for _, one in tested.evaluations], tested.grid_folder))
    finish(loggers, tested.metrics() if tested is not None else None)


def _run_test(
    trainer: pl.Trainer,
    module: SpeechLLMModule,
    test: Test,
    source: Source,
) -> report.Evaluation | None:
    """None on all ranks but the first."""
    options = test.options
    with stopping.stopping_at_once():
        trainer.test(module, datamodule=test.datamodule, verbose=False)
    seconds = time.perf_counter() - module.test_start
    decoded, memory = module.take_decoded(), module.take_peak_memory_gib()
    if not trainer.is_global_zero:
        return None
    devices = Devices.of(trainer)
    found = replace(
        _evaluation(decoded, options, source.name, seconds, source.provenance),
        device=devices.name,
        num_devices=devices.count,
        peak_memory_gib=memory,
    )
    folder = _results_folder(source, test)
    report.write(folder, found)
    origin.write(
        folder, origin.origin(options, test.datamodule.utterances["test"], source.name, source.provenance)
    )
    if options.decoding.nbest > 1:
        write_whole(folder / report.NBEST_FILE, _nbest_lines(decoded))
    print(report.screen(found))
    print(f"\nresults in {folder}\n")
    return found


def _results_folder(source: Source, test: Test) -> Path:
    """By default beside the model: `results/<model>/<label file>[_<view>][_<SNR>dB][_<noise>]...`."""
    options = test.options
    (snr,), (file,) = options.augmentation.decode_snrs_db, options.data.test_file
    path = Path(file).with_suffix("")
    # `vsr/en/test.tsv` and `vst/en/es/test.tsv` are two label files.
    name = path.name if path.is_absolute() else "_".join(part for part in path.parts if part != "..")
    name += "" if test.view is None else f"_{test.view}"
    name += "" if snr is None else f"_{snr:g}dB"
    noises = map(show_noise, options.augmentation.test_noise if snr is not None else ())
    name += "".join(f"_{noise}" for noise in noises)
    name += "".join(f"_{damage}" for damage in options.augmentation.test_damage if damage != grid.UNDAMAGED)
    name += "".join(f"_{direction}" for direction in options.data.lang)
    if options.decoding.shuffle_speech:
        name += "_shuffled"
    return (options.run.output_dir or source.results) / name


def _evaluation(
    decoded: list[Decoded],
    options: Options,
    model: str | Path,
    seconds: float,
    provenance: Mapping[str, str] | None = None,
) -> report.Evaluation:
    references = [clip.utterance.text for clip in decoded]
    hypotheses = [clip.hypotheses[0][0] for clip in decoded]
    directions = [clip.utterance.languages for clip in decoded]
    decoding, snr_db = options.decoding, options.augmentation.decode_snrs_db[0]
    ids = [clip.utterance.id for clip in decoded]
    num_frames = sum(clip.utterance.num_frames for clip in decoded)
    speakers = speakers_of(ids, options.scoring.speaker_pattern)
    normalised = normalisation(options.scoring.normalise, directions)
    compared = [[normalised.apply(text) for text in texts] for texts in (references, hypotheses)]
    return report.Evaluation(
        ids=ids,
        references=references,
        hypotheses=hypotheses,
        directions=directions,
        result=metrics.score_by_direction(directions, *compared, options.task.metric, speakers),
        speakers=speakers,
        normalisation=normalised,
        seconds=[clip.utterance.num_frames / VIDEO_FPS for clip in decoded],
        model=str(model),
        provenance=provenance or {},
        label_file=options.data.test_file[0],
        speech_seconds=num_frames / VIDEO_FPS,
        tokens_per_frame=sum(clip.num_speech_tokens for clip in decoded) / num_frames,
        decode_seconds=seconds,
        snr_db=snr_db,
        noise=next(map(show_noise, options.augmentation.test_noise if snr_db is not None else ()), None),
        damage=options.augmentation.test_damage[0],
        decoding={
            "num_beams": decoding.num_beams,
            "max_dec_tokens": decoding.max_dec_tokens,
            "length_penalty": decoding.length_penalty,
            "shuffle_speech": decoding.shuffle_speech,
        },
    )


def _nbest_lines(decoded: list[Decoded]) -> str:
    rows = (
        {"id": clip.utterance.id, "hypotheses": [{"text": t, "score": s} for t, s in clip.hypotheses]}
        for clip in decoded
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
