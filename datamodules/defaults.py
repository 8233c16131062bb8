"""Defaults that the command line shares with the classes it fills; imports nothing heavy."""

CLEAN_SNR_DB = 999_999.0
"""The published spelling of "add no noise": from here on there is none at all."""
TRAINING_SNRS_DB = (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0, CLEAN_SNR_DB)
TRAIN_NUM_BUCKETS = 400
SEED = 42
