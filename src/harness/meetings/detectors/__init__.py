"""Sensitive spans of turns: names and addresses of the roster, numbers, keys; told by class."""
