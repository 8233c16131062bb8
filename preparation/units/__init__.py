"""Visual units: features of an AV-HuBERT, k-means, and runs of equal units."""
