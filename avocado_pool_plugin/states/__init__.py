"""The public state interface, in the terms of Avocado-VT."""
