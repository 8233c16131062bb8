"""Which checkpoint comes after which, which are damaged, and what is averaged."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import torch

from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.checkpoints.run_folder import AVERAGED, RunFolder, checkpoint_name

PARTS = (checkpoint.WEIGHTS, checkpoint.CONFIG, checkpoint.RESUME)


def write(folder: Path, step: int, finished: bool, value: float = 1.0, epoch: int = 0) -> Path:
    progress = {"epoch": epoch, "step": step, "epoch_finished": finished}
    state = {"weight": torch.full((64,), value)}
    resume = {"global_step": step, "state": torch.arange(64)}
    checkpoint.write(folder, state, {}, resume, {checkpoint.PROGRESS: progress})
    return folder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def epochs(run: RunFolder, count: int = 3) -> list[Path]:
    """One for each epoch of 6 steps, with the values 1, 2, ..."""
    names = [checkpoint_name(epoch, 6 * (epoch + 1)) for epoch in range(count)]
    return [
        write(run.checkpoints_folder / name, 6 * (epoch + 1), True, epoch + 1.0, epoch)
        for epoch, name in enumerate(names)
    ]


def test_ties_are_settled_by_what_they_hold(run: RunFolder) -> None:
    folder = run.checkpoints_folder
    expected = [
        write(folder / "inside-epoch=00-step=000003", 3, False),
        write(folder / "best-epoch=00-step=000004", 4, False),
        write(folder / "inside-epoch=00-step=000006", 6, False),
        write(folder / "best-epoch=00-step=000006", 6, True),
        write(folder / "epoch=00-step=000006", 6, True),
        write(folder / "inside-epoch=01-step=000008", 8, False, epoch=1),
        write(folder / "best-epoch=01-step=000008", 8, False, epoch=1),
    ]
    assert run.checkpoints() == expected
    assert run.newest() == expected[-1]


@pytest.mark.parametrize("step", [5, 20])
def test_slurms_checkpoint_is_taken_where_it_is_the_newest(run: RunFolder, step: int) -> None:
    found = epochs(run)
    requeue = write(run.path / "hpc_ckpt_1.ckpt", step, False, epoch=3)
    assert run.newest() == (requeue if step == 20 else found[-1])


def test_folders_of_version_0_1_say_it_in_their_state(run: RunFolder) -> None:
    source = Path(__file__).parents[1] / "golden" / "checkpoints_0_1" / "resume" / "epoch=00-step=000006"
    shutil.copytree(source, run.path / "hpc_ckpt_1.ckpt")
    write(run.checkpoints_folder / "inside-epoch=00-step=000005", 5, False)
    assert run.newest() == run.path / "hpc_ckpt_1.ckpt"
    shutil.copytree(source, run.checkpoints_folder / source.name)
    assert run.newest() == run.checkpoints_folder / source.name


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 4
    path.write_bytes(bytes(content))


def flip_early(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[40] ^= 4
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [truncate, empty, flip, flip_early, Path.unlink])
@pytest.mark.parametrize("part", PARTS)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    run: RunFolder, damage, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, before, last = epochs(run)
    damage(last / part)
    with caplog.at_level(logging.WARNING):
        assert run.newest() == before
    assert last.name in caplog.text
    assert part in caplog.text
    if part != checkpoint.RESUME:
        with pytest.raises(ValueError, match=part.replace(".", r"\.")):
            checkpoint.read_state(last)
        with pytest.raises(ValueError, match=last.name):
            run.write_average(18, 2, {})
        assert not run.average.exists()
    else:
        with pytest.raises(ValueError, match=part.replace(".", r"\.")):
            checkpoint.read_resume(last)


@pytest.mark.parametrize("damage", [truncate, empty])
@pytest.mark.parametrize("part", PARTS)
def test_damage_without_checksums(run: RunFolder, damage, part: str) -> None:
    """As version 0.1 wrote them."""
    source = Path(__file__).parents[1] / "golden" / "checkpoints_0_1" / "resume" / "epoch=00-step=000006"
    folder = run.checkpoints_folder / source.name
    shutil.copytree(source, folder)
    checkpoint.verify(folder)
    damage(folder / part)
    with pytest.raises(ValueError, match=part.replace(".", r"\.")):
        checkpoint.verify(folder)
    with pytest.raises(ValueError, match="no checkpoint of this run can be read"):
        run.newest()


def test_every_bit_of_a_config_counts(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", 1, True)
    path = folder / checkpoint.CONFIG
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        for bit in (1, 32):
            content = bytearray(whole)
            content[place] ^= bit
            path.write_bytes(bytes(content))
            with pytest.raises(ValueError, match=r"config\.yaml"):
                checkpoint.read_config(folder)


def test_the_average_is_of_what_is_on_the_disk(run: RunFolder) -> None:
    epochs(run)
    run.write_average(18, 2, {})
    config = checkpoint.read_config(run.average)
    assert config[AVERAGED] == ["epoch=01-step=000012", "epoch=02-step=000018"]
    assert checkpoint.read_state(run.average)["weight"].unique().tolist() == [2.5]


def test_the_average_leaves_out_later_steps_and_earlier_ones_of_an_epoch(run: RunFolder) -> None:
    epochs(run)
    write(run.checkpoints_folder / "epoch=01-step=000008", 8, False, 50.0, 1)
    write(run.checkpoints_folder / "epoch=03-step=000024", 24, True, 70.0, 3)
    run.write_average(18, 2, {})
    assert checkpoint.read_state(run.average)["weight"].unique().tolist() == [2.5]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers(run: RunFolder, value: float, monkeypatch) -> None:
    *_, last = epochs(run)
    state = {"weight": torch.ones(3), "other": torch.tensor([1.0, value])}
    with pytest.raises(ValueError, match="NaN or infinity in other"):
        checkpoint.write(last, state, {})
    assert checkpoint.read_state(last)["weight"].unique().tolist() == [3.0]
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "check_finite", lambda *_: None)
        checkpoint.write(last, state, {})
    with pytest.raises(ValueError, match="NaN or infinity in other"):
        checkpoint.read_state(last)
    with pytest.raises(ValueError, match="NaN or infinity in other"):
        run.write_average(18, 1, {})


def test_what_was_not_written_yet_is_made_good(run: RunFolder) -> None:
    best = write(run.checkpoints_folder / "best-epoch=02-step=000018", 18, True, 3.0, 2)
    run.complete(best, best.name)
    end = run.checkpoints_folder / "epoch=02-step=000018"
    assert checkpoint.read_state(end)["weight"].unique().tolist() == [3.0]
    shutil.rmtree(best)
    run.complete(end, best.name)
    checkpoint.verify(best)


def test_tidying(run: RunFolder) -> None:
    folder = run.checkpoints_folder
    epochs(run, 4)
    for name, step in (("best-epoch=00-step=000006", 6), ("best-epoch=01-step=000012", 12)):
        write(folder / name, step, True)
    for step in (3, 15):
        write(folder / checkpoint_name(step // 6, step, "inside-"), step, False)
    (folder / "mine-epoch=00-step=000001").mkdir()
    run.tidy(18, "best-epoch=01-step=000012", keep=2)
    assert sorted(path.name for path in folder.iterdir()) == [
        "best-epoch=01-step=000012",
        "epoch=01-step=000012",
        "epoch=02-step=000018",
        "epoch=03-step=000024",
        "inside-epoch=02-step=000015",
        "mine-epoch=00-step=000001",
    ]
