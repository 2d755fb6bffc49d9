"""Where artefacts live: an object store (a directory or S3), immutable artefacts, and the live ref."""
