"""What a meeting is, and one reader for each platform."""
