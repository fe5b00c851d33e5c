"""One script per claim; its header holds the question, the command and the expected number.

Each leaves table.json and table.md in its --out.
"""
