"""Who is calling: AWS signatures and the keys they are checked against."""
