"""What `scripts/services` is made of: installation, processes, S3 requests and the servers."""
