"""The HTTP service: admits requests and answers them. It cannot call RunComfy."""
