"""What a request may say and what is answered, in both protocols."""
