"""Grafana boards: what is drawn is written here in short Python, and `make dashboards` makes the JSON that Grafana loads."""
