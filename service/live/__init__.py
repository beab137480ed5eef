"""What changes between two trainings: users' new events, hidden items, what is on the rise; felt on every replica."""
