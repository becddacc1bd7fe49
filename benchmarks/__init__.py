"""Side by side with what people would use instead; see docs/benchmarks.rst."""
