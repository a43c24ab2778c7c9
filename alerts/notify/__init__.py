"""Delivery: what is to be told goes to every Alertmanager, whatever state it is in."""
