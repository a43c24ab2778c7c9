"""Stand-ins for what tests cannot have quickly: a cluster in memory and a clock that moves by hand."""
