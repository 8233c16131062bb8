"""From raw recordings and other projects' files to data sets that can be trained on."""
