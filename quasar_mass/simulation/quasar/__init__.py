"""The simulated quasar and the flux that arrives from it."""
