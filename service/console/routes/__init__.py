"""The pages: sign-in, a tenant's, an operator's, the playground."""
