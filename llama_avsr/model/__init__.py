"""The model: encoders, compressors and projectors in front of a causal LLM; knows pretrained files alone."""
