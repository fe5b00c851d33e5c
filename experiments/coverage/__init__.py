"""The coverage study of the trust tool's intervals."""
