"""Events told to programs elsewhere: signed, tried again, and written down."""
