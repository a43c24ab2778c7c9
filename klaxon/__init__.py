"""The program: configuration, daemon, command line and web pages."""
