"""Numbers to tables, and tables to text."""
