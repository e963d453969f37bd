"""The rows of the table of kinds, one module per family; `snconvert.rules` joins them."""
