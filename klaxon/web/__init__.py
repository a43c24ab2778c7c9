"""The web server: the metrics page, health, reload and a page for each incident; nothing on it can write to Kafka."""
