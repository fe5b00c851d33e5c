"""Policies of a task, and the demonstrator program that they learn from."""
