"""Lowlands' leaderboard: judges and shows results. It never imports torch."""
