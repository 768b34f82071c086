"""The vendor's web server: a Debian host with an application, and with what users have uploaded."""
