"""The commands, in a folder for each section of `gateway --help`."""
