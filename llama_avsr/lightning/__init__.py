"""What training and evaluation share: the LightningModule, the trainer, the data, logs, progress."""
