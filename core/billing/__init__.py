"""Money: settlement of reservations, usage windows and the account balance. Values only."""
