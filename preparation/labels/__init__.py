"""Label files: written, converted, checked."""
