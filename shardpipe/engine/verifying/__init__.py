"""`verify`: whether a root is what its rows say."""
