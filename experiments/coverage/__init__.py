"""The coverage study of the trust tool's intervals, and an example of a table for the tool."""
