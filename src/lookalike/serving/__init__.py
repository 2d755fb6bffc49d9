"""The search endpoint: the HTTP API, the page, and the life of a search process."""
