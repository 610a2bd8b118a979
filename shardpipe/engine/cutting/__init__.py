"""The `cut` of raw videos into clips."""
