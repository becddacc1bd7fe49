"""Several workers with caches of their own and two pools, and what may become of their states."""
