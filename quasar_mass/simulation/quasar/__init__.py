"""The simulated quasar and the flux it sends out."""
