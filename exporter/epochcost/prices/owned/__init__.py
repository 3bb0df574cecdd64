"""What an hour of an owned machine costs."""
