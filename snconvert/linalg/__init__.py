"""Linear algebra in numpy: no keras, no backend."""
