"""From raw recordings and other projects' files to data sets that can be trained on.

commands    what prepare_data.py offers, one file a command: flags and reports
datasets    published data sets and folders of videos: what there is, texts, segments, clips, resuming
faces       from a video to mouths: detectors, tracking, cutting; many videos at once
labels      label files: written, converted, checked
units       visual units: features, clusters, runs
"""
