"""Objects of any size, such as media, in a folder or a bucket: outside Redis.

Names are chosen by the gateway and never contain a caller's text.
"""
