"""Evaluate a model. `python eval_LLM.py --help` lists the flags."""

from llama_avsr import cli
from llama_avsr.commands.evaluate import main

if __name__ == "__main__":
    cli.run(main)
