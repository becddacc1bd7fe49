"""What somebody else wrote, and wrote wrong: inputs of all kinds, and who reads them."""
