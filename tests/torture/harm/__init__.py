"""Damage to the files of pools and caches, and what comes of it."""
