"""What a person meets in a terminal: commands, tables, the progress bar."""
