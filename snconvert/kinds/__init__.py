"""Which Keras layers can be converted: one module a family, one row a class, joined in `table`."""
