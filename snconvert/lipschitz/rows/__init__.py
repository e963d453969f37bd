"""What the layers and operations of Keras do, one row a class; a module a family."""
