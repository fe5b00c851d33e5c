"""Episodes: recordings read, checked, split into windows and scored."""
