"""The file carrier: converts saved models, and never imports keras or a backend."""
