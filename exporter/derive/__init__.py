"""Facts that follow from several collectors' readings, as pure functions."""
