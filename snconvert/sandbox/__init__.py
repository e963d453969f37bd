"""The guarded process: untrusted bytes are read in it, side by side with the parent's work."""
