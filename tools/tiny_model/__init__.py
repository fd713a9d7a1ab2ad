"""Trains the tiny model on drawings of people who don't exist."""
