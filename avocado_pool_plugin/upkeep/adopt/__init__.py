"""Taking over a cache or pool that avocado-i2n filled: records, and relative backing names."""
