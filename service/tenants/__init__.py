"""Use cases of tenants: settings, API keys, usage. The admin API and the command line call them."""
