"""What a converted layer becomes: one module per `--target`."""
