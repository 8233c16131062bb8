"""Signals as requests and as exceptions; a loader's worker that stands still."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import BatchSampler, Dataset, SequentialSampler

from datamodules import workers
from datamodules.loader import ClipLoader
from datamodules.media import MediaError
from llama_avsr import stopping
from llama_avsr.boundary import PeerEnd
from llama_avsr.lightning.processes import Watch, end_of
from llama_avsr.stopping import Stopped
from tests.unit.test_control import clips


def test_a_signal_is_a_request_where_it_is_asked_for() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stopping.listening():
        with stopping.asking():
            os.kill(os.getpid(), signal.SIGUSR1)
            assert stopping.requested() == signal.SIGUSR1
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopping.requested() == signal.SIGUSR1, "the first counts"
            stopping.withdraw()
            assert stopping.requested() is None
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped) as stop, stopping.stopping_at_once():
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.value.signum == signal.SIGINT
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
    assert stopping.requested() is None


def test_a_process_forked_off_does_not_hold_the_program_up() -> None:
    ready, tell = os.pipe()
    with stopping.listening():
        pid = os.fork()
        if pid == 0:
            os.write(tell, b"!")  # a signal that came before could find the parent's handler
            while True:
                signal.pause()
    assert os.read(ready, 1) == b"!"
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
    os.close(ready)
    os.close(tell)


SCRIPT = """
import os, sys, time
from llama_avsr import stopping
with stopping.listening(), stopping.asking():
    stopping.STOP_SECONDS = stopping._state.patience = float(sys.argv[1])
    if os.fork() == 0:
        os.kill(os.getpid(), 15)  # a process forked off is a process like others
        os._exit(0)
    print(os.wait()[1], flush=True)
    time.sleep(600)
    time.sleep(600)
"""


def stuck(seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == f"{int(signal.SIGTERM)}\n"
    return process


def test_what_shows_no_sign_of_life_is_ended() -> None:
    process = stuck(0.5)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "stuck" in errors


def test_the_second_interruption_leaves() -> None:
    process = stuck(1000)
    process.send_signal(signal.SIGINT)
    time.sleep(2 * stopping.BOUNCE_SECONDS)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_how_a_process_ended() -> None:
    assert end_of(1, 2) == PeerEnd(2)
    killed = end_of(3, -signal.SIGKILL)
    assert killed.code == 137
    assert "process 3 of this run was killed (SIGKILL)" in killed.said
    bad = subprocess.Popen([sys.executable, "-c", "import sys; sys.exit(5)"])
    good = subprocess.Popen([sys.executable, "-c", "pass"])
    watch = Watch([good, bad])
    watch._end = None
    bad.wait()
    good.wait()
    codes = [process.poll() for process in watch.processes]
    assert next(end_of(rank, code) for rank, code in enumerate(codes, 1) if code) == PeerEnd(5)


class Clips(Dataset):
    """Stands in for a ClipDataset; clip `stopped` stops its worker."""

    def __init__(self, stopped: int, signum: int | None) -> None:
        self.utterances = clips("abcdef")
        self.stopped, self.signum = stopped, signum
        self.begins = lambda index: None

    def __getitems__(self, items: list[tuple[int, int]]) -> list[object]:
        for _, index in items:
            self.begins(index)
            if index == self.stopped:
                if self.signum is None:
                    time.sleep(600)
                os.kill(os.getpid(), self.signum)
        self.begins(None)
        return []

    def __len__(self) -> int:
        return len(self.utterances)


class Items(BatchSampler):
    """Items as the project's samplers give them."""

    seed, world_size = 0, 1

    def __iter__(self):
        return ([(0, index) for index in batch] for batch in super().__iter__())


@pytest.mark.parametrize(
    ("signum", "said"),
    [(signal.SIGSTOP, "has been stopped"), (None, "could not be read in"), (signal.SIGKILL, "died")],
)
def test_a_worker_that_stands_still_or_dies_is_named_by_its_clip(
    signum: int | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "HALTED_SECONDS", 0.5)
    monkeypatch.setattr(workers, "STUCK_SECONDS", 1.0)
    clips = Clips(2, signum)
    loader = ClipLoader(clips, Items(SequentialSampler(clips), 2, False), num_workers=1)
    with pytest.raises(MediaError, match=said) as raised:
        for _ in loader._deliveries():
            pass
    assert str(raised.value).startswith(clips.utterances[2].source)


class Fetched:
    """What another process gives; whoever reads it finds that one gone, or itself at fault."""

    def __init__(self, giver_dies: bool) -> None:
        self.giver_dies = giver_dies

    def __reduce__(self):
        return _fetch, (os.getpid() if self.giver_dies else None,)


def _fetch(giver: int | None) -> None:
    if giver is not None:
        os.kill(giver, signal.SIGKILL)
    raise ConnectionResetError("Connection reset by peer")


@pytest.mark.parametrize(("giver_dies", "error"), [(True, MediaError), (False, ConnectionResetError)])
def test_a_worker_that_dies_while_its_batch_is_fetched(
    giver_dies: bool, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "DYING_SECONDS", 5.0 if giver_dies else 0.1)
    clips = Clips(-1, None)
    loader = ClipLoader(clips, Items(SequentialSampler(clips), 2, False), num_workers=1)
    loader.collate_fn = lambda _: Fetched(giver_dies)
    # Its end is heard of in the loader alone, not by way of torch's own handler wherever the test is.
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        with pytest.raises(error, match="reset by peer"):
            next(loader._deliveries())
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_worker_that_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that was forked off while a library held a lock."""
    monkeypatch.setattr(workers, "STUCK_SECONDS", 1.0)
    clips = Clips(-1, None)
    monkeypatch.setattr(Clips, "__getitems__", lambda self, items: time.sleep(600))
    loader = ClipLoader(clips, Items(SequentialSampler(clips), 2, False), num_workers=2)
    with pytest.raises(MediaError, match="none of the processes that read has begun"):
        next(loader._deliveries())


@pytest.mark.parametrize(
    ("signum", "said"), [(signal.SIGSTOP, "has been stopped"), (signal.SIGKILL, "died|killed")]
)
def test_a_worker_lost_between_two_epochs(signum: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that stay are asked for a sign of life before the first batch."""
    monkeypatch.setattr(workers, "HALTED_SECONDS", 0.5)
    clips = Clips(-1, None)
    sampler = Items(SequentialSampler(clips), 2, False)
    loader = ClipLoader(clips, sampler, num_workers=1, persistent_workers=True)
    first = len(list(loader._deliveries()))
    assert first == len(clips) / 2
    (worker,) = multiprocessing.active_children()
    # Its end is heard of in the loader alone, not by way of torch's own handler wherever the test is.
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        os.kill(worker.pid, signum)
        with pytest.raises(MediaError, match=said) as raised:
            list(loader._deliveries())
    finally:
        signal.signal(signal.SIGCHLD, before)
    file, _ = clips.utterances[0].position
    assert str(raised.value).startswith(file)


def test_workers_hear_no_signals_and_die_with_their_parent(tmp_path: Path) -> None:
    script = """
import os, signal, sys, time
from torch.utils.data import SequentialSampler
from tests.unit.test_stopping import Clips, Items
from datamodules.loader import ClipLoader
clips = Clips(4, None)
loader = ClipLoader(clips, Items(SequentialSampler(clips), 2, False), num_workers=1)
deliveries = loader._deliveries()
next(deliveries)
from multiprocessing import active_children
(worker,) = active_children()
for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    os.kill(worker.pid, signum)
time.sleep(0.5)
next(deliveries)
print(worker.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root)
    assert done.returncode == -signal.SIGKILL, done.stderr
    end = time.monotonic() + 60
    while Path(f"/proc/{int(done.stdout)}").exists() and _state(int(done.stdout)) != "Z":
        assert time.monotonic() < end
        time.sleep(0.1)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_what_a_worker_is_at() -> None:
    at_work = workers.AtWork(2)
    assert at_work.clip_of(1) is None
    at_work.begin(1, 0)
    clip, seconds = at_work.clip_of(1)
    assert (clip, seconds < 60) == (0, True)
    at_work.begin(1, None)
    assert at_work.clip_of(1) is None
    assert torch.equal(at_work._table[0], torch.zeros(2, dtype=torch.int64))


def test_a_worker_that_dies_is_no_error_elsewhere() -> None:
    """torch's own handler would raise one in whatever the program is doing."""
    before = signal.getsignal(signal.SIGCHLD)
    clips = Clips(-1, None)
    loader = ClipLoader(clips, Items(SequentialSampler(clips), 2, False), num_workers=1)
    deliveries = loader._deliveries()
    next(deliveries)
    assert signal.getsignal(signal.SIGCHLD) == before
    for worker in multiprocessing.active_children():
        worker.kill()
        worker.join()
    with pytest.raises(MediaError, match=r"died|killed"):
        list(deliveries)
