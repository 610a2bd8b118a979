"""The config: pydantic models, YAML with lines, overrides, and the registry of stages and detectors."""
