"""What the fleet is asked and judged by: packs, queries and controls, read from files, checked and versioned."""
