"""Media in an input: its fields, its content, and the files and private sources that it names."""
