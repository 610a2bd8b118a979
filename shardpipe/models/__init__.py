"""Models that stages share, and the files of weights that they load."""
