"""The rows of the metric catalogue, a file per owner."""
