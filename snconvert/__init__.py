"""Turns saved Keras models into spectrally normalised ones."""
