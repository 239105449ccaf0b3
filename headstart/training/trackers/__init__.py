"""Watchers that write a run's numbers for other tools: TensorBoard, and Weights & Biases."""
