"""What a person sees of a root: status, captions, SQL, Datasets opened from Python."""
