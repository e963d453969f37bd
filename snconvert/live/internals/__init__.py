"""Whatever touches the private side of live Keras objects: walking, copying, changing them."""
