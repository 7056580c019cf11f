"""The environments, one family a file; each carries its exact or best known answer."""
