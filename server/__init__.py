"""Muster's server: osquery's answers in, typed rows kept, verdicts out."""

__version__ = "0.1.0"
