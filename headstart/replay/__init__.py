"""Episodes recorded, drawn and written as pictures."""
