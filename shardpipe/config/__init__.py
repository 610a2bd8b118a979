"""The config file: its models, its loading, and the registry of stages and detectors."""
