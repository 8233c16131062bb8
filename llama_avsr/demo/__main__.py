from llama_avsr import cli
from llama_avsr.demo.recognition import main

cli.run(main)
