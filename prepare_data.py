"""Make, convert or check data sets. `python prepare_data.py --help` lists the commands."""

import sys

from llama_avsr.commands.prepare import main

if __name__ == "__main__":
    sys.exit(main())
