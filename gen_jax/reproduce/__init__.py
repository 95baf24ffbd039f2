"""A recorded result made again and compared with what was recorded."""
