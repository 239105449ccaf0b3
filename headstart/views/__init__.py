"""One team seen as another: of another size, as one agent, by who hears whom."""
