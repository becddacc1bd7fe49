"""Steps of ``avocado pool run``: what ``setup=`` may name."""
