"""Index files that another process wrote are opened and checked in a process of limited memory and time."""
