"""Commands for operators: their tokens, what they did, the console."""
