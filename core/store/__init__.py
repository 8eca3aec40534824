"""The only code that speaks Redis: keys, scripts, and a class per aggregate.

Values in, values out. Nothing above it sees a key name, a Redis type or a Redis error.
"""
