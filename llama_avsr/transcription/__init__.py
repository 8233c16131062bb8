"""From a video to its words: face, mouth, segments, model, text."""
