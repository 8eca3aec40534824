"""The addresses of the HTTP face, as tables: parse, call one use case, render."""
