"""PromQL on our own history: parsing into a typed tree, questions about that tree, evaluation as Prometheus 3.x does it."""
