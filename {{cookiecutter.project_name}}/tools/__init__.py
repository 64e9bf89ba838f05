"""Extras: each file can be deleted. How they are found is in utils/extras.py."""
