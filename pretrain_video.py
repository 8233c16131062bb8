"""Train an encoder of lips from scratch. `python pretrain_video.py --help` lists the flags."""

from llama_avsr import cli
from llama_avsr.commands.pretrain_video import main

if __name__ == "__main__":
    cli.run(main)
