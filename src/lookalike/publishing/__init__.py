"""What is live: the live ref, publication and roll-back, the roll-out of search pods, retention."""
