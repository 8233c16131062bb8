"""Recordings of several speakers: who said what, and how much of it was written down right."""
