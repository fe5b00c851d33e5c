"""Policies: ``worldmodel.types.Policy`` is their contract; cloning, PPO, gradients train them."""

from worldmodel import _mujoco as _mujoco  # before Brax, which imports MJX, which prints
