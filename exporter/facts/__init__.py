"""Frozen values in Kafka's own terms: what a cluster said, before anything is concluded from it."""
