"""The certified Lipschitz bound of a network: reading it from a configuration, and the numbers."""
