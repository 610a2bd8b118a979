"""Text from models: one interface, and an engine a file behind it."""
