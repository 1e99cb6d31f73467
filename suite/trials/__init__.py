"""From one unit of work to sealed records."""
