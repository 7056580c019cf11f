"""The experiments, one study a file: settings, run, claims, plot."""
