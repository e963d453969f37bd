"""The memory carrier: converts live Keras models, whatever their topology; imports keras."""
