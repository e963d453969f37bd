"""Models in folders of several files, whose layers only their own code knows."""
