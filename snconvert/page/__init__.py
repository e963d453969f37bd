"""The report as one HTML page, which needs nothing but a browser."""
