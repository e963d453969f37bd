"""Saved models as files: reading them safely, editing their weights, writing them atomically."""
