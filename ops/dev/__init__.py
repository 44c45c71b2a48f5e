"""`paymesh dev`: a mesh to develop against, kept up, with its logs in view and its data kept between runs."""
