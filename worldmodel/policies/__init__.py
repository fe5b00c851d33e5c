"""Policies: ``worldmodel.types.Policy`` is their contract; behaviour cloning trains one."""
