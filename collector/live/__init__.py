"""Live questions: what the server asks now, run one after the other through osqueryd, each answered once."""
