"""Write down what is said in videos. `python transcribe.py --help` lists the flags."""

from llama_avsr import cli
from llama_avsr.commands.transcribe import main

if __name__ == "__main__":
    cli.run(main)
