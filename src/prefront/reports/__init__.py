"""What is told of results: statistics, claims, figures."""
