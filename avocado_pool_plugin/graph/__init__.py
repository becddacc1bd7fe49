"""Graph runs: tests that make states run before those that need them, and only if they have to."""
