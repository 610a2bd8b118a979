"""Scene detectors, one a file."""
