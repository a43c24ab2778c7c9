"""The only room that imports Kafka client libraries: connections of our own, decoders, and one Protocol that speaks facts."""
