"""Makes the demo's pretrained ingredients from scratch: `python -m llama_avsr.demo_pretrain`.

A Whisper encoder, an AV-HuBERT and a LLaMA, each of about a million parameters, learnt from sentences, noise
and random draws that the demo's own data set does not contain. They stand in for the published models.
"""
