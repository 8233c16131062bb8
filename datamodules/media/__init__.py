"""The one door to media files: what reads, measures and writes video and sound.

opening      what is refused, which track is meant, damage that is gone over
packed       files inside of tar shards
pictures     frames of clips and recordings, at 25 per second; pixels turns them into arrays
sound        mono at 16 kHz, of a clip or along a recording's picture
headers      lengths and sizes, without decoding
writing      H.264 with or without sound, and wav
"""

from datamodules.media.opening import MediaError
from datamodules.media.pictures import load_video
from datamodules.media.sound import load_audio

__all__ = ["MediaError", "load_audio", "load_video"]
