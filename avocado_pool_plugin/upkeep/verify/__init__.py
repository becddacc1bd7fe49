"""Whether a cache or pool is what it should be, and what can be done where it is not."""
