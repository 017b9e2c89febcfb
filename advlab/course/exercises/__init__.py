"""The exercises, one file a chapter; each holds a tuple ``EXERCISES``."""
