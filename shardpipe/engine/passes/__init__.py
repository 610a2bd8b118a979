"""A pass over clips: decode once, run its stages, commit rows."""
