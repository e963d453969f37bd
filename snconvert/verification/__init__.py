"""The proof that one saved model is another one, converted."""
