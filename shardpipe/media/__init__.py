"""Videos: probe, decode, remux, smart cut, encode. Everything that touches FFmpeg."""
