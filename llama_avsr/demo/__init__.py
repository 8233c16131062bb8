"""The demo: its corpus, its pretrained models, and the runs that show what the project does."""
