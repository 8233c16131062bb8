"""Commands of prepare_data.py, one file each; the file's name is the command's.

A module of this folder offers `HELP` (a line), `DESCRIPTION` (what `COMMAND --help` says),
`add_arguments(parser)` and `run(arguments)`, which returns the exit status (None is 0). It imports
nothing heavy before `run`: `prepare_data.py --help` imports all of them.
"""
