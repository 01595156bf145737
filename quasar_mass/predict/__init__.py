"""From what the user asks for to a table of masses."""
