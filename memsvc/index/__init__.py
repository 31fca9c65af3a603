"""The projection of the store: keys as points, in Qdrant."""
