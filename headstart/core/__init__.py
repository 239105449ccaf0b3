"""The contracts and the one training loop: it imports nothing else of headstart."""
