"""Trains any torch optimizer on many seeds at once, each exactly as an ordinary loop would."""
