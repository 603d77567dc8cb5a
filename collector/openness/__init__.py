"""What the owner of the device is told: how it fares, what is collected and sent, and the means to do it now."""
