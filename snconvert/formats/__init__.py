"""Saved models: how each kind is recognised, read, and written; a module and a row each."""
