"""Every reader of files against files that nobody meant: a result or one sentence, nothing else."""
