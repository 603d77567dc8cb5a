"""Verdicts: each device held against each control, each day."""
