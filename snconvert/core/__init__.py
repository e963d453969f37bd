"""Values that every part of the package speaks of: settings, reports, verdicts, matrix views."""
