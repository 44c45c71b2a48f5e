"""`paymesh intent explain`: one intent out of every place that knows something of it, for whoever is woken up."""
