"""One script per claim; its header holds the question, the command and the expected number."""
