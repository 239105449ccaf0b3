"""Policies as plain lists of operations on arrays: traced from JAX, run by NumPy alone, written as ONNX."""
