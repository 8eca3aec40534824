"""The calls about webhook endpoints and deliveries."""
