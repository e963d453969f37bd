"""What is printed of a result, and onto what: a terminal, a pipe, the page of a notebook."""
