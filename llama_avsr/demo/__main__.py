from llama_avsr.demo.recognition import main

main()
