"""Training an encoder of lips from scratch (`llama-avsr pretrain-video`)."""
