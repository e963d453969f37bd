"""What will be done to each layer, for files and for live models alike."""
