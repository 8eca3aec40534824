"""HTTP building blocks that every route shares: middleware, authentication, bodies, problems."""
