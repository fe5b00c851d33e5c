"""Gradients through contact: exact, useful, and what they cost."""
