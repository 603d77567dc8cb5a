"""What people are told, shaped from what is stored and judged: texts and numbers. Pure."""
