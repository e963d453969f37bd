"""From the configuration of a model to its network of operations."""
