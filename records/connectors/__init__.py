"""Where records come from: tables, databases, and the protocols of HR, learning and calendar systems."""
