"""What is known about people and whether it may be used: tables, contracts, readiness, the sample group."""
