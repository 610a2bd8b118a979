"""Where workers run: placing them and handing out units."""
