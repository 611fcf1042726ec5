"""Policies, behaviour cloning, PPO fine-tuning and evaluation."""
