"""What is remembered for minutes: sessions, rate limits, results; in the database or in Redis."""
