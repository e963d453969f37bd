"""Reports as tables for people; see `snconvert.cli.tables`."""

from snconvert.cli.tables import closing, print_report, print_rules, print_verdict, rules_json

__all__ = ["closing", "print_report", "print_rules", "print_verdict", "rules_json"]
