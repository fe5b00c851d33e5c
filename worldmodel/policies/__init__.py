"""Policies: ``worldmodel.types.Policy`` is their contract; behaviour cloning and PPO train them."""

from worldmodel import _mujoco as _mujoco  # before Brax, which imports MJX, which prints
