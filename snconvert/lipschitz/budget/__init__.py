"""Choosing the bounds of layers so that the bound of the network is at most what is wanted."""
