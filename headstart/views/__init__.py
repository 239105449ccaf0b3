"""Views of a team: at another size, as one agent, and through its messages."""
