"""Models that older versions of Keras saved, in the words of Keras 3."""
