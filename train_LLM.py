"""Train a model. `python train_LLM.py --help` lists the flags."""

from llama_avsr import cli
from llama_avsr.commands.train import main

if __name__ == "__main__":
    cli.run(main)
