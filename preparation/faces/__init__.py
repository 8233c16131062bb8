"""Faces found in videos and followed, and the mouth cut out of them."""
