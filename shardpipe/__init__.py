"""shardpipe: raw videos in, training-ready WebDataset shards out."""
