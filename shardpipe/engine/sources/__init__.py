"""Raw videos: found, listed as units, and opened, wherever they lie."""
