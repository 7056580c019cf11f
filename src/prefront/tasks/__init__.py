"""What is solved: the environment contract, its registry, the Gymnasium API, the checker."""
