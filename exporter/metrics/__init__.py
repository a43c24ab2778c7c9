"""The metric catalogue and the page: names, families and the fast writer."""
