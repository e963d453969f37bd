"""A saved model as a file or folder: read without trust, written as a whole or not at all."""
