"""JMX of brokers and controllers: the bean catalogue, the transports, and the facts that the answers give."""
