"""Other programs' requests and answers, by `Index`: each module speaks for one of them."""
