"""Trainings on other processes and machines: a graph of tasks, the engines that run them, and what a task tells of itself."""
