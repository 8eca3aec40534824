"""A look-alike of RunComfy's Model API: its calls and shapes, a life for each request, a ledger."""
