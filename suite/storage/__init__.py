"""What is written to disk and read back: records, logs, solutions, cached arrays."""
