"""From numbers to a page: rules, their lifecycle, decision trees, incidents and their delivery."""
