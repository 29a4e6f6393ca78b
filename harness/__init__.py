"""anyorder's evaluation harness: lm-eval adapters for models that do and do not write left to right."""

__version__ = "0.1.0"
