"""The commands of `lowlands`."""
