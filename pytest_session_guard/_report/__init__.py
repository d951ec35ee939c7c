"""The report as words, JSON and pages; pure."""
