"""The checks of `gateway doctor`."""
