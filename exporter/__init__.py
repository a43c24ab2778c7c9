"""From Kafka to numbers: clients, collectors, derived facts, the Snapshot, the metrics page and the history."""
