"""The command `rcg`: what callers of a gateway do, over its API. It needs the extra `cli`."""
