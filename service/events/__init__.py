"""Takes in events durably, and reads them back by user, by position and as figures of quality."""
