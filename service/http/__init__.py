"""HTTP building blocks: middleware, authentication, bodies, calls of operations as a user."""
