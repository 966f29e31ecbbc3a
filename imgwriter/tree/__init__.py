"""What goes in: directories, tars and contents become an Inventory, without their bytes."""
