"""What agents hand back: policies and fronts of them, and how they are evaluated and scored."""
