"""Bounds of chains of layers and of residual blocks that are below the product of their norms."""
