"""What `lowlands` runs that needs torch, a file each."""
