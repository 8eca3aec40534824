"""Files of callers: their records, and how RunComfy gets them."""
