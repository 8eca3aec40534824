"""Calls of the API's operations in this process, as a user: what the console and MCP do."""
