"""One file per collector: each asks the cluster for its facts and knows no metric names."""
