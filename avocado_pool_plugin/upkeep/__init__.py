"""What keepers of caches and pools do: see, check, bound and repair them."""
