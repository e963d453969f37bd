"""`config.json`: what it says, and whether to trust it."""
