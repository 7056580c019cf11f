"""Solvers that give the right answer, in float64."""
