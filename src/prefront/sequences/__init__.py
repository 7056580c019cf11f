"""Policies that write sequences of tokens."""
