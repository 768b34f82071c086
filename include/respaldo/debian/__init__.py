"""What a Debian or Ubuntu host is: asked for, compared, and made again on another host."""
