"""Telling people: what they should hear of, and the channels that carry it."""
