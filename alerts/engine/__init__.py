"""The rule engine: rule files, templates, thresholds, the life of an alert, and the loop that evaluates."""
