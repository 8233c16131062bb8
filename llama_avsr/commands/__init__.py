"""The commands, one file each, thin: parse, wire, run."""
