PS1='guest@imgwriter$ '
