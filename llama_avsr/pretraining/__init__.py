"""Training what recognisers need: an encoder of lips (`llama-avsr pretrain-video`), a predictor of speech
rates (`llama-avsr pretrain-speech-rate`)."""
