"""An ensemble for elsewhere: one plain torch module, and one file of it."""
