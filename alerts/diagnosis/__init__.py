"""From a firing alert to a page: decision trees, the walk through them, incidents and their text."""
