"""What an exception means to a person: whose fault it is, in a sentence.

A file, a flag, a model, the machine: the user can do something, and reads what. All else is a fault of the
program. Libraries are known by name and nothing is imported: most programs need few of them.
"""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Iterator
from types import FrameType

OWN = ("llama_avsr", "datamodules", "av_hubert", "preparation", "benchmarks", "__main__")
READERS = (
    *("safetensors", "yaml", "transformers", "tokenizers", "sentencepiece", "huggingface_hub", "peft", "av"),
    *("joblib", "pickle", "zipfile", "json", "tarfile", "gguf", "bitsandbytes", "cv2", "mediapipe", "PIL"),
    *("csv", "wave", "gzip", "lzma", "struct", "torch.serialization", "numpy.lib", "soundfile", "torchaudio"),
)
"""Libraries that read what users bring: what fails in them fails on that, or on the library's version."""
DAMAGED_KINDS = (
    *("SafetensorError", "BadZipFile", "UnpicklingError", "EOFError", "struct.error", "zlib.error"),
    *("UnicodeDecodeError", "JSONDecodeError", "LZMAError", "csv.Error", "wave.Error"),
)
THEIRS = (
    *("ValueError", "OSError", "ImportError", "MemoryError", "YAMLError", "MisconfigurationException"),
    *DAMAGED_KINDS,
)
"""Kinds of exceptions, by the end of their full name, that files, flags and models cause."""
PATH_NAMES = ("path", "file", "filename", "folder", "pretrained_model_name_or_path", "source", "name_or_path")
MORE_ROOM = "free some, or choose another folder or disk"
LESS_MEMORY = (
    "use smaller batches (--max-frames-..., --test-max-frames), fewer --num-workers, or a smaller model"
)
OTHER_RIGHTS = "change its permissions, or choose another place"
MORE_FILES = "raise the limit (ulimit -n), or use fewer --num-workers"
REMEDIES = {
    errno.ENOSPC: MORE_ROOM,
    errno.EDQUOT: MORE_ROOM,
    errno.EACCES: OTHER_RIGHTS,
    errno.EPERM: OTHER_RIGHTS,
    errno.EROFS: "choose another place",
    errno.EMFILE: MORE_FILES,
    errno.ENFILE: MORE_FILES,
    errno.EIO: "the disk or the network is at fault: copy the file to another one",
    errno.ESTALE: "the network disk has lost it: start again",
    errno.ENOMEM: LESS_MEMORY,
    errno.EPIPE: "the program that read the output has exited",
}
LONGEST = 300
"""Letters of a library's message that are shown."""


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


DISK_FULL = _any_of(
    *("No space left", r"os error 28\b", "Disk quota exceeded", "PytorchStreamWriter failed"),
    *("file write failed", "basic_ios", r"inline_container.*unexpected pos"),
)
NO_MEMORY = _any_of(
    *("out of memory", "can(?:'t|not) allocate memory", "DefaultCPUAllocator", "not enough memory"),
    "ALLOC_FAILED",
)
DAMAGED = _any_of(
    *("PytorchStreamReader failed", "Invalid magic number", "unexpected EOF", "Weights only load failed"),
)
NO_GPU = _any_of(
    *("No CUDA GPUs", "CUDA driver", "no kernel image", "CUDA-capable device", "cuDNN.*not initialized"),
)
WORKER_GONE = _any_of(r"DataLoader worker \(pid[^)]*\)?[^)]*\) (?:is killed by signal|exited unexpectedly).*")
PEER_GONE = _any_of(
    *("Connection (?:closed|reset) by peer", "Broken pipe", "recvValue failed", "Socket Timeout"),
    *("Timed out waiting", "Connection refused", "failed to recv", "gloo.*(?:closed|timeout|reset)"),
    *("NCCL.*(?:remote|peer|aborted|timed? ?out)", "Application timeout"),
)


class Fault:
    """text: a sentence, or lines of them. is_users: they can fix it. is_own_word: we raised it ourselves."""

    def __init__(self, text: str, is_users: bool, is_own_word: bool = False) -> None:
        self.text, self.is_users, self.is_own_word = text, is_users, is_own_word


def explain(error: BaseException) -> Fault:
    """Whose fault an exception is, and in which words to say so."""
    known = _system(error) or _known_by_its_words(error)
    if known is not None:
        return Fault(known, is_users=True)
    frames = _frames(error)
    where = frames[-1].f_globals.get("__name__", "") if frames else ""
    if _is_kind(error, DAMAGED_KINDS):
        said = f"{_place(error)}{_in_a_line(error)}; it is damaged or of another kind"
        return Fault(said, is_users=True)
    if _is_kind(error, THEIRS):
        if is_own(where):
            return Fault(_message(error), is_users=True, is_own_word=True)
        remedy = "; pip install it" if isinstance(error, ModuleNotFoundError) else ""
        return Fault(f"{_place(error)}{_in_a_line(error)}{remedy}", is_users=True)
    if any(where == library or where.startswith(f"{library}.") for library in READERS):
        library, kind = where.partition(".")[0], type(error).__name__
        said = f"{_place(error)}{library} cannot use it ({kind}: {_in_a_line(error)})"
        return Fault(f"{said}; check the file or model, and the library's version", is_users=True)
    return Fault(f"{type(error).__name__}: {_in_a_line(error)}{_line(error)}", is_users=False)


def is_peer_loss(error: BaseException) -> bool:
    """Whether an exception says no more than that another process of the run is gone."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    if "torch.distributed" in kind or kind.startswith("torch._C._Dist") or kind.endswith(".DistBackendError"):
        return True
    return isinstance(error, RuntimeError) and PEER_GONE.search(str(error)) is not None


def is_own(module: str) -> bool:
    """Whether a module is one of ours."""
    return module.partition(".")[0] in OWN


def _system(error: BaseException) -> str | None:
    """Errors of the operating system, with the file's name."""
    if not isinstance(error, OSError) or error.errno is None or not error.strerror:
        return None
    name = error.filename
    place = f"{os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else name}: " if name else ""
    remedy = REMEDIES.get(error.errno)
    return f"{place}{error.strerror}{f'; {remedy}' if remedy else ''}"


def _known_by_its_words(error: BaseException) -> str | None:
    """Full disks and memories, in whatever exception a library puts them."""
    text, said = str(error), _in_a_line(error)
    if DISK_FULL.search(text):
        return f"the disk is full ({said}); {MORE_ROOM}"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and NO_MEMORY.search(text)):
        return f"out of memory ({said}); {LESS_MEMORY}"
    if not isinstance(error, RuntimeError):
        return None
    if gone := WORKER_GONE.search(text):
        return f"{gone[0]}; it may have run out of memory (RAM or /dev/shm): use fewer --num-workers"
    if DAMAGED.search(text):
        return f"{_place(error)}{said}; it is damaged or of another kind: copy it again"
    if NO_GPU.search(text):
        return f"the GPU cannot be used ({said}); check its driver, or use --accelerator cpu"
    return None


def _message(error: BaseException) -> str:
    """Without the traceback that a loader's worker puts into it."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if "Original Traceback (most recent call last)" in text:
        lines = [line for line in text.splitlines() if line.strip()]
        last = max(index for index, line in enumerate(lines) if not line.startswith(" "))
        text = "\n".join(lines[last:])
        kind, colon, rest = text.partition(": ")
        text = rest if colon and re.fullmatch(r"[\w.]+", kind) else text
    return text if text.strip() else type(error).__name__


def _in_a_line(error: BaseException) -> str:
    text = " ".join(_message(error).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def _place(error: BaseException) -> str:
    """`FILE: `, where the message doesn't name it: what was at hand where the error was raised."""
    path = next(_paths(_frames(error)), None)
    return "" if path is None or os.path.basename(path) in str(error) else f"{path}: "


def _frames(error: BaseException) -> list[FrameType]:
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def _paths(frames: list[FrameType]) -> Iterator[str]:
    for frame in reversed(frames):
        for name in PATH_NAMES:
            value = frame.f_locals.get(name)
            if isinstance(value, (str, os.PathLike)) and (path := os.fspath(value)) and len(path) < 1000:
                try:
                    if os.path.exists(path):
                        yield str(path)
                except (OSError, ValueError):
                    continue


def _line(error: BaseException) -> str:
    """` (FILE:LINE)` of the innermost line of ours."""
    ours = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if is_own(frame.f_globals.get("__name__", ""))
    ]
    return f" ({os.path.basename(ours[-1][0])}:{ours[-1][1]})" if ours else ""


def _is_kind(error: BaseException, names: tuple[str, ...]) -> bool:
    kinds = [f".{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
    return any(kind.endswith(f".{name}") for kind in kinds for name in names)
