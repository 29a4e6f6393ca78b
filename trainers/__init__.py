"""Trainers that regenerate every compared checkpoint from one recipe file."""
