"""Commands for what is stored: the store, kept outputs, encrypted secrets."""
