"""Built-in stages, one a file."""
