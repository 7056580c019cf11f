"""People who choose, what they chose, and what is learned from it."""
