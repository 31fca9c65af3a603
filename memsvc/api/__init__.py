"""The HTTP door: the wire's requests and answers around the use cases."""
