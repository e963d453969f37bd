"""What is private to Keras, and to the backends below it: a function or a name each.

No other module names a private module or attribute of Keras, so that a new version of it is a
matter of this package. The docstrings say where versions differ. Most names
were looked up in the sources of Keras 3.6.0, 3.9.2, 3.12.0 and 3.15.1; tests run with 3.15.
"""
