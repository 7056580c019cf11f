"""Preference models, one a file."""
