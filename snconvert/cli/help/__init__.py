"""What the command line says of itself: help, topics, examples, wrong usage, the manual page."""
