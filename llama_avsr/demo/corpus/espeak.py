"""espeak-ng through ctypes: text in, samples and phoneme times out.

The library and its data come from the PyPI package `espeakng-loader` (GPL-3, optional, loaded at run time).
One utterance at a time in a process: the library is not thread-safe, so a lock stands before it.
"""

from __future__ import annotations

import _ctypes
import ctypes
import functools
import sys
import threading
from dataclasses import dataclass

import numpy as np

# Values from the library's C interface (speak_lib.h).
_OUTPUT_SYNCHRONOUS = 2
_OPTION_PHONEME_EVENTS = 0x0001
_OPTION_DO_NOT_EXIT = 0x8000
_TEXT_IS_UTF8 = 0x0001
_TEXT_MAY_HOLD_PHONEMES = 0x0100
_PARAMETER_RATE = 1
_PARAMETER_PITCH = 3
_EVENT_LIST_END = 0
_EVENT_WORD = 1
_EVENT_PHONEME = 7
_BUFFER_MS = 2000
_SEED = 1

_lock = threading.Lock()


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class Utterance:
    """What espeak-ng said. samples: [N] int16; phonemes: (mnemonic, first sample), in order; words: the first
    sample of each."""

    samples: np.ndarray
    sample_rate_hz: int
    phonemes: list[tuple[str, int]]
    words: list[int]


@functools.cache
def installation() -> tuple[str, str]:
    """Paths of the library and of its data; ModuleNotFoundError where espeakng-loader is missing."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise ModuleNotFoundError(
            'the demo\'s voices need espeak-ng, which is not installed: pip install "llama-avsr[demo]"'
        ) from error
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


def _unload(library: ctypes.CDLL) -> None:
    library.espeak_Terminate()
    if sys.platform == "win32":
        _ctypes.FreeLibrary(library._handle)
    else:
        _ctypes.dlclose(library._handle)


def speak(text: str, voice: str, pitch: int, rate: int) -> Utterance:
    """Say `text` with `voice` ("en-us+f2"); `[[...]]` in the text holds espeak's phoneme mnemonics.

    pitch: 0 to 99; rate: words a minute. A pure function of its arguments.
    Raises ModuleNotFoundError where espeakng-loader is missing, ValueError for an unknown voice.
    """
    library_path, data_path = installation()
    with _lock:
        # Flutter, noise and oscillators run on from one utterance to the next in the library's static
        # variables, which nothing in its interface resets. A freshly loaded copy (0.3 ms) starts from the
        # same state every time, and what it leaks goes with it.
        library = ctypes.CDLL(library_path)
        try:
            return _speak(library, data_path, text, voice, pitch, rate)
        finally:
            _unload(library)


def _speak(library: ctypes.CDLL, data_path: str, text: str, voice: str, pitch: int, rate: int) -> Utterance:
    options = _OPTION_PHONEME_EVENTS | _OPTION_DO_NOT_EXIT
    sample_rate_hz = library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, _BUFFER_MS, data_path.encode(), options)
    if sample_rate_hz <= 0:
        raise RuntimeError(f"espeak-ng did not start with the data in {data_path}; reinstall espeakng-loader")
    chunks: list[bytes] = []
    phonemes: list[tuple[str, int]] = []
    words: list[int] = []

    def receive(samples: ctypes._Pointer, num_samples: int, events: ctypes._Pointer) -> int:
        if num_samples > 0:
            chunks.append(ctypes.string_at(samples, 2 * num_samples))
        index = 0
        while (event := events[index]).type != _EVENT_LIST_END:
            if event.type == _EVENT_PHONEME:
                phonemes.append((event.id.string.decode(), event.sample))
            elif event.type == _EVENT_WORD:
                words.append(event.sample)
            index += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(f"espeak-ng has no voice {voice!r}; expected LANGUAGE or LANGUAGE+VARIANT")
    library.espeak_SetParameter(_PARAMETER_PITCH, pitch, 0)
    library.espeak_SetParameter(_PARAMETER_RATE, rate, 0)
    encoded = text.encode()
    flags = _TEXT_IS_UTF8 | _TEXT_MAY_HOLD_PHONEMES
    status = library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 0, 0, flags, None, None)
    if status != 0 or not chunks:
        raise RuntimeError(f"espeak-ng could not say {text!r} with {voice!r} (status {status})")
    samples = np.frombuffer(b"".join(chunks), dtype=np.int16)
    return Utterance(samples, sample_rate_hz, phonemes, words)
