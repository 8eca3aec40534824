"""The web console: pages over the operations of the API, for tenants and operators (`routes`)."""
