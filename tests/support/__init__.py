"""Parts that several tests share: real processes, recorded traffic, made-up answers."""
