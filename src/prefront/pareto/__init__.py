"""Points and their order: dominance, hulls, indicators, weights, the archive. Knows no environment."""
