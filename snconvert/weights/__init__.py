"""`model.weights.h5`: its bytes, its contents, and edits of them."""
