"""The MCP server at `/mcp`: the API's operations as tools and resources of a language model.

Only `endpoint` imports nothing of the SDK: it loads the rest where the server is on.
"""
